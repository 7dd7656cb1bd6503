/** A new supervisor reads exactly the output that the killed one has not logged. */
import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { OutputFile } from "./output.js";
import { OutputPoller } from "./output-poller.js";
import { ReadPositions } from "./read-positions.js";

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "positions-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("a new reader continues after the last complete line in the log", async () => {
  const folder = makeFolder();
  const open = (from: number) => {
    const lines: string[] = [];
    const positions = new ReadPositions(join(folder, "positions"), (problem) => expect.unreachable(problem));
    const sink = { lines: (texts: string[]) => lines.push(...texts), lost: () => expect.unreachable("lines are lost") };
    const save = (position: number) => positions.write(3, position);
    return { lines, positions, file: new OutputFile(join(folder, "out"), 1000, sink, { from, save }) };
  };
  const first = open(0);
  let isSettled = false;
  const poller = new OutputPoller({
    ...{ folder, files: () => [first.file], isBusy: () => false, isSettled: () => isSettled, pollMs: 1 },
    problem: (error) => expect.unreachable(`${error}`),
  });
  poller.start();
  onTestFinished(() => poller.stop());
  writeSync(first.file.fd, "one\ntwo\nthr");
  await expect.poll(() => first.lines).toEqual(["one", "two"]);
  expect(first.positions.read()(3), "they are not in the log yet").toBeUndefined();
  isSettled = true;
  await expect.poll(() => first.positions.read()(3)).toBe(8);
  // The supervisor is killed; the process continues.
  poller.stop();
  writeSync(first.file.fd, "ee\nfour\n");
  const second = open(first.positions.read()(3) ?? 0);
  second.file.read();
  expect(second.lines).toEqual(["three", "four"]);
  second.file.close();
  second.positions.end();
  expect(second.positions.read()(3)).toBeUndefined();
});

test("rows are used again, but not one that is in use", () => {
  const positions = new ReadPositions(join(makeFolder(), "positions"), () => {});
  expect([positions.take(2), positions.take(), positions.take(), positions.take()]).toEqual([2, 0, 1, 3]);
  positions.free(1);
  expect(positions.take()).toBe(1);
  positions.write(1, 5);
  positions.write(3, 2 ** 40);
  expect([0, 1, 2, 3, 4].map(positions.read())).toEqual([0, 5, 0, 2 ** 40, undefined]);
});

test("a problem is reported once", () => {
  const problems: string[] = [];
  const positions = new ReadPositions("/nowhere/positions", (problem) => problems.push(problem));
  for (let time = 0; time < 3; time++) positions.write(0, 1);
  expect(problems).toEqual([expect.stringContaining("ENOENT")]);
});
