/** Bytes that wait for the kernel are joined, whatever the runtime's own sockets do: an object for each piece takes many times its size. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { RUNTIMES, runtimePath } from "./support/balancer-process.js";

const PROGRAM = fileURLToPath(new URL("support/waiting-pieces.mjs", import.meta.url));

it.concurrent.each(RUNTIMES)("waiting pieces are joined, and arrive in order, on %s", async (runtime) => {
  const { stdout } = await promisify(execFile)(runtimePath(runtime), [PROGRAM], { timeout: 150_000 });
  const { grownMB, ...rest } = JSON.parse(stdout);
  expect(rest).toEqual({ taken: 0, waits: true, isInOrder: true, drains: 0, after: 0 });
  expect(grownMB).toBeLessThan(20);
});
