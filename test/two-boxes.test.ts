/** Two machines behind HAProxy: a small version of the soak. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ROOT } from "./support/fleet.js";
import { FLEET_TAG, run, signal, taggedProcesses } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

test("a box is reloaded, stopped, started and killed behind the exported HAProxy, and no GET is lost", async (context) => {
  const tag = randomUUID();
  onTestFinished(async () => {
    await waitFor("the soak's processes to be gone", () => {
      const left = taggedProcesses(tag);
      for (const pid of left) signal(pid, "SIGKILL");
      return left.length === 0;
    });
  });
  const soak = await run(process.execPath, [join(ROOT, "bench/soak/two-boxes.mjs"), "--short"], {
    env: { ...process.env, [FLEET_TAG]: tag },
    deadlineMs: 170_000,
  });
  const reason = /^skipped: (.*)$/m.exec(soak.output)?.[1];
  if (reason !== undefined) context.skip(reason);
  expect(soak.output).not.toMatch(/^FAILS/m);
  expect(soak.output.match(/^holds /gm)).toHaveLength(4);
  expect(soak.code, soak.output).toBe(0);
});
