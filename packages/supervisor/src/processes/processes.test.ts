import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { isRunning, signalGroup, startTimeOf } from "./processes.js";

test("a process is identified by its start time, and a group that has exited is not signalled", async () => {
  const child = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
  const pid = child.pid ?? 0;
  const startTime = startTimeOf(pid);
  expect(startTime).toMatch(/^\d+$/);
  expect(isRunning(pid, startTime)).toBe(true);
  expect(isRunning(pid, `${Number(startTime) - 1}`)).toBe(false);
  expect(signalGroup(pid, "SIGTERM")).toBe(true);
  expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
  expect(startTimeOf(pid)).toBeUndefined();
  expect(signalGroup(pid, "SIGTERM")).toBe(false);
});
