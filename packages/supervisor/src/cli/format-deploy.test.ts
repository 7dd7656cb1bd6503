import { expect, test } from "vitest";
import type { DeployStatus } from "../control/api.js";
import { deployText, formatDeploy } from "./format-deploy.js";

const deploy: DeployStatus = {
  ...{ from: 7, to: 8, release: "/srv/shop/releases/8", phase: "canary", percent: 10, percentNow: 5 },
  ...{ isHeld: false, arms: { old: null, new: null } },
  ...{ canaries: ["web.1#2"], controls: ["web.2#2"], judgeMs: 60_000, leftMs: 18_000, verdict: "wait" },
  tests: [
    { name: "5xx", verdict: "pass", difference: "+0.004 pp", limit: "≤ +0.10 pp", interval: [null, null], most: 1 },
    { name: "p99 /api/", verdict: "wait", difference: "+5.6 %", limit: "≤ +20 %", interval: [null, null], most: 1 },
  ],
};

test("shows the time, the verdict and each test in aligned columns", () => {
  expect(formatDeploy("web", deploy, { colour: false, width: 80 })).toEqual([
    " web  generation 7 → 8  canary 10 %, 18 s left: 1 pass, 1 wait, 0 fail",
    " WAITING ████████████████▊░░░░░░░ 1 pass, 1 wait, 0 fail",
    " ✓ 5xx        +0.004 pp  ≤ +0.10 pp  passes",
    " … p99 /api/     +5.6 %     ≤ +20 %  waits",
  ]);
});

test("is no wider than the terminal, and outputs no control characters", () => {
  const odd = { ...deploy, tests: [{ ...deploy.tests[0], name: `\x1b[2J${"x".repeat(200)}` }] as never };
  for (const line of formatDeploy("web", odd, { colour: false, width: 60 })) {
    expect(line.length).toBeLessThanOrEqual(60);
    expect(line).not.toContain("\x1b");
  }
});

test("shows the progress in one line", () => {
  expect(deployText({ ...deploy, leftMs: null })).toBe("canary 10 %, starting");
  expect(deployText({ ...deploy, phase: "rolling" })).toBe("is rolled out to the other instances");
  expect(deployText({ ...deploy, phase: "back" })).toBe("is rolled back");
});
