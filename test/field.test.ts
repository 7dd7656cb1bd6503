/** Public programs respond behind Paceline as they do alone: a small part of `npm run field`. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ROOT } from "./support/fleet.js";
import { certificates, FLEET_TAG, run, signal, taggedProcesses } from "./support/processes.js";

const DEADLINE_MS = 240_000;
/** The exit status of `--if-cached` if something is not installed. */
const NOT_CACHED = 3;

test("an app of express-generator: the same responses, also in a reload and a crash", {
  timeout: DEADLINE_MS + 10_000,
}, async (context) => {
  const tag = randomUUID();
  onTestFinished(() => {
    for (const pid of taggedProcesses(tag)) signal(pid, "SIGKILL");
  });
  const only = ["--only", "express generator", "--instances", "2", "--no-memory", "--pause", "25"];
  const cached = process.env.CI === "true" ? [] : ["--if-cached"];
  const { code, output } = await run(process.execPath, [join(ROOT, "bench/field/main.mjs"), ...only, ...cached], {
    env: { ...process.env, ...certificates(), [FLEET_TAG]: tag },
    deadlineMs: DEADLINE_MS,
  });
  if (code === NOT_CACHED) context.skip(`${output.trim()}: \`npm run field\` or CI=true installs them`);
  expect(code, output).toBe(0);
});
