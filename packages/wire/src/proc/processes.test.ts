/** Which processes belong to a leader, and that the machine's process table can be read. */
import { spawn } from "node:child_process";
import { expect, onTestFinished, test } from "vitest";
import { pageBytesIn, processesOf, readProcessTable, readStat, spawnTagOf } from "./processes.js";

test("those of its session and all that they started, in any session; no others", () => {
  const rows = [
    { pid: 1, parent: 0, session: 1, startTime: 1 },
    { pid: 100, parent: 1, session: 100, startTime: 1 },
    { pid: 101, parent: 100, session: 100, startTime: 1 },
    // Its parent has exited, but its session exists.
    { pid: 102, parent: 1, session: 100, startTime: 1 },
    // It left the session, and started others in its new session.
    { pid: 103, parent: 101, session: 103, startTime: 1 },
    { pid: 105, parent: 104, session: 103, startTime: 1 },
    { pid: 104, parent: 103, session: 103, startTime: 1 },
    { pid: 200, parent: 1, session: 200, startTime: 1 },
    { pid: 201, parent: 200, session: 200, startTime: 1 },
  ];
  expect(processesOf(100, rows).sort()).toEqual([101, 102, 103, 104, 105]);
  expect(processesOf(300, rows)).toEqual([]);
});

test.runIf(process.platform === "linux")("this process is in the table, with its parent", () => {
  const own = readProcessTable().find(({ pid }) => pid === process.pid);
  expect(own).toMatchObject({ parent: process.ppid });
});

test.runIf(process.platform === "linux")(
  "a process is found by its tag in a large environment, and by its session",
  () => {
    const env = { OTHER: "PACELINE_SPAWN=other", LARGE: "x".repeat(100_000), PACELINE_SPAWN: "tag-1", LAST: "1" };
    const child = spawn("/bin/sleep", ["600"], { env, detached: true, stdio: "ignore" });
    onTestFinished(() => void child.kill("SIGKILL"));
    const pid = child.pid as number;
    expect(spawnTagOf(pid)).toBe("tag-1");
    expect(readProcessTable().find((row) => row.pid === pid)).toEqual({
      ...{ pid, parent: process.pid, session: pid },
      startTime: Number(readStat(pid)?.startTime),
    });
    expect(spawnTagOf(2 ** 22 + 1)).toBe(undefined);
  },
);

test.runIf(process.platform === "linux")("a process has the memory that its runtime reports", () => {
  const { rssBytes = 0 } = readStat(process.pid) ?? {};
  expect(rssBytes / process.memoryUsage.rss()).toBeCloseTo(1, 0);
});

test.each([
  ["64-bit words", false, new BigUint64Array([3n, 1n, 6n, 65_536n, 0n, 0n]), 65_536],
  ["32-bit words", true, new Uint32Array([3, 1, 6, 16_384, 0, 0]), 16_384],
  ["a list without it", false, new BigUint64Array([3n, 1n, 0n, 0n]), 4096],
])("the size of a page is found in %s", (_, is32Bit, words, bytes) => {
  expect(pageBytesIn(new Uint8Array(words.buffer), is32Bit)).toBe(bytes);
});
