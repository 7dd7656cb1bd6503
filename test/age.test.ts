/** The short form of `npm run soak:age`: connections of each kind outlive the runtimes' own timers. */
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "./support/fleet.js";
import { run } from "./support/processes.js";

const SECONDS = 150;

it("no connection is reset for its age, none stays in flight, and a stop is quick", async () => {
  const soak = join(ROOT, "bench/soak/age.mjs");
  // The drains that nothing ends would take 30 s; the machine is busy.
  const args = [soak, "--seconds", `${SECONDS}`, "--stop-ms", "10000"];
  const { code, output } = await run(process.execPath, args, { deadlineMs: 330_000 });
  process.stdout.write(output);
  expect(output).not.toContain("FAILS");
  expect(code, output).toBe(0);
}, 340_000);
