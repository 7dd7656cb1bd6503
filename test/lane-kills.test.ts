/** Instances that are killed during POST requests: a small version of the soak with a thousand kills. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { ROOT, RUNTIMES } from "./support/fleet.js";
import { FLEET_TAG, run, signal, taggedProcesses } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

describe.each(RUNTIMES)("kill -9 of instances on %s", (runtime) => {
  test("runs no POST twice, loses none that was answered, and answers 502 only to one that had begun", async () => {
    const tag = randomUUID();
    onTestFinished(async () => {
      await waitFor("the soak's processes to be gone", () => {
        const left = taggedProcesses(tag);
        for (const pid of left) signal(pid, "SIGKILL");
        return left.length === 0;
      });
    });
    const soak = await run(
      process.execPath,
      [join(ROOT, "bench/soak/kills.mjs"), "--kills", "12", "--pause", "12", "--runtime", runtime],
      { env: { ...process.env, [FLEET_TAG]: tag }, deadlineMs: 170_000 },
    );
    expect(soak.output).toMatch(/^holds {2}no id is twice/m);
    expect(soak.output).not.toMatch(/^FAILS/m);
    expect(soak.code).toBe(0);
  });
});
