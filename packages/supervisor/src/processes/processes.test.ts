import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { signalGroup, startTimeOf } from "./processes.js";

test("a process that is not the one that was meant is left alone", async () => {
  const child = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
  const pid = child.pid ?? 0;
  const startTime = startTimeOf(pid);
  expect(startTime).toMatch(/^\d+$/);
  expect(signalGroup(pid, "SIGTERM", `${Number(startTime) - 1}`)).toBe(false);
  expect(child.exitCode ?? child.signalCode).toBeNull();
  expect(signalGroup(pid, "SIGTERM", startTime)).toBe(true);
  expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
  expect(startTimeOf(pid)).toBeUndefined();
  expect(signalGroup(pid, "SIGTERM")).toBe(false);
});
