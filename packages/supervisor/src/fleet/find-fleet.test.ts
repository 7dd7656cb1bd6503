/** A fleet that a command meets while it starts or ends. */
import { once } from "node:events";
import { chmodSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeFolder } from "../../test/support.js";
import { takeLock } from "../run-dir/lock.js";
import { findSettledFleet } from "./find-fleet.js";

test("a supervisor that has the lock and not yet its socket is waited for, and so is one that is about to end", async () => {
  const runDir = makeFolder();
  chmodSync(runDir, 0o700);
  const lock = takeLock(runDir);
  const starting = findSettledFleet({ runDir });
  const server = createServer().listen(join(runDir, "control.sock"));
  await once(server, "listening");
  expect(await starting).toMatchObject({ runDir, state: "up" });
  server.close();
  await once(server, "close");
  const ending = findSettledFleet({ runDir });
  lock.release();
  expect(await ending).toMatchObject({ state: "down" });
});
