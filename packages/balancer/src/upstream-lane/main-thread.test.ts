import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, expect, it } from "vitest";
import { isRunningIn, MainThread } from "./main-thread.js";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

it.each([
  ["running", "17 (bun) R 1 17 17 0 -1", true],
  ["waiting for a disk", "17 (node) D 1 17 17 0 -1", true],
  ["waiting for input", "17 (web.1) S 1 17 17 0 -1", false],
  ["a zombie", "17 (web.1) Z 1 17 17 0 -1", false],
  ["with a name like a state", "17 (a) R (b) S 1 17 17 0 -1", false],
])("reads a thread that is %s", (_, text, isRunning) => {
  // Bytes of an earlier file may follow.
  const bytes = Buffer.from(`${text}) R 1`);
  expect(isRunningIn(bytes, text.length)).toBe(isRunning);
});

it.runIf(existsSync("/proc/self/stat"))("sees a process wait and compute, and that it has ended", async () => {
  const waiting = spawn("cat");
  const computing = spawn("sh", ["-c", "while :; do :; done"]);
  children.push(waiting, computing);
  const threads = [waiting, computing].map(({ pid }) => new MainThread(pid as number));
  // `sh` has computed for a while when `cat` waits for its input.
  while (threads.map((thread) => thread.isRunning()).join() !== "false,true") await turn();
  const ended = new Promise((resolve) => computing.once("exit", resolve));
  computing.kill("SIGKILL");
  await ended;
  expect(threads[1]?.isRunning()).toBe(false);
  for (const thread of threads) thread.close();
  expect(threads[0]?.isRunning()).toBe(false);
});
