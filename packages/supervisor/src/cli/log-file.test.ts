/** The log is complete while it can be written; otherwise it only loses lines and counts them. */
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { isOlder, readStoredLog } from "./follow.js";
import { type LogFileOptions, logFilesIn, openLogFile } from "./log-file.js";

const LIMITS = { maxFileBytes: 10 << 20, maxFiles: 5, maxTotalBytes: 50 << 20 };

function place(): string {
  const folder = mkdtempSync(join(tmpdir(), "pl-log-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "log");
}

function open(folder: string, options: Partial<LogFileOptions> = {}) {
  return openLogFile({ ...LIMITS, folder, onTrouble: (message) => expect.unreachable(message), ...options });
}

function read(file: string): { time: number; name: string; msg: string; lost?: number }[] {
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line));
}

const line = (sequence: number, text: string, name = "web.1") => ({
  sequence,
  at: 1_700_000_000_000 + sequence,
  name,
  text,
});

test("every line is stored as JSON, after those of an earlier start", async () => {
  const folder = place();
  for (const text of ["first", "second"]) {
    const log = open(folder);
    log.write([line(1, text)]);
    await log.close();
  }
  expect(read(join(folder, "paceline.log"))).toMatchObject([
    { time: 1_700_000_000_001, name: "web.1", msg: "first" },
    { time: 1_700_000_000_001, name: "web.1", msg: "second" },
  ]);
});

test("a stored line older than those that a fleet keeps is noticed, and a line that came meanwhile is not", () => {
  const stored = [line(1, "before a takeover"), line(2, "kept"), line(3, "just written")];
  expect(isOlder(stored, line(2, "").at)).toBe(true);
  expect(isOlder(stored.slice(1), line(2, "").at)).toBe(false);
  expect([isOlder([], 1), isOlder(undefined, 1)]).toEqual([false, false]);
});

test("changed limits apply from the next line on", async () => {
  const folder = place();
  const log = open(folder);
  onTestFinished(() => log.close());
  const write = (sequence: number) => log.write(Array.from({ length: 100 }, () => line(sequence, "x".repeat(1000))));
  const written = (sequence: number) =>
    expect
      .poll(() => existsSync(log.status().path) && read(log.status().path).at(-1)?.time)
      .toBe(1_700_000_000_000 + sequence);
  write(1);
  await written(1);
  expect(logFilesIn(folder)).toHaveLength(1);
  log.limit({ ...LIMITS, maxFileBytes: 65_536 });
  write(2);
  await written(2);
  expect(logFilesIn(folder).length).toBeGreaterThan(1);
});

test("files rotate by size, and are bounded by their number and their total", async () => {
  const folder = place();
  for (const [limits, files] of [
    [{ maxFileBytes: 10 << 20, maxFiles: 5, maxTotalBytes: 65_536 }, 1],
    [{ maxFileBytes: 65_536, maxFiles: 3, maxTotalBytes: 1 << 20 }, 3],
    [{ maxFileBytes: 65_536, maxFiles: 10, maxTotalBytes: 4 * 65_536 }, 4],
  ] as const) {
    // More bytes than the size limit of a file arrive at once.
    for (let round = 0; round < 6; round++) {
      const log = open(folder, limits);
      log.write(Array.from({ length: 100 }, (_, n) => line(round * 100 + n, "x".repeat(1000))));
      await log.close();
    }
    const there = logFilesIn(folder);
    expect(there.length).toBe(files);
    const most = Math.min(limits.maxFileBytes, limits.maxTotalBytes);
    for (const file of there) expect(statSync(file).size).toBeLessThanOrEqual(most);
  }
  // The newest come first; older lines are read from the older files.
  const stored = readStoredLog(logFilesIn(folder), "web", 120, (each) => each.at - 1_700_000_000_000);
  expect(stored).toEqual(Array.from({ length: 120 }, (_, n) => 480 + n));
});

test("a moved file is created again, immediately with reopen", async () => {
  const folder = place();
  const log = open(folder);
  const file = join(folder, "paceline.log");
  log.write([line(1, "before")]);
  await expect.poll(() => existsSync(file) && read(file)).toHaveLength(1);
  renameSync(file, `${file}.moved`);
  log.reopen();
  log.write([line(2, "after")]);
  await expect.poll(() => existsSync(file) && read(file)).toMatchObject([{ msg: "after" }]);
  renameSync(file, `${file}.moved2`);
  await expect
    .poll(() => {
      log.write([line(3, "found by itself")]);
      return existsSync(file);
    })
    .toBe(true);
  await log.close();
  expect(read(`${file}.moved`)).toMatchObject([{ msg: "before" }]);
});

test("a log that cannot be written reports that once, counts the lost lines by name, and reports the counts when it works again", async () => {
  const folder = place();
  writeFileSync(folder, "a file where the folder should be");
  const troubles: string[] = [];
  const log = open(folder, { retryMs: 20, onTrouble: (message) => troubles.push(message) });
  log.write([line(1, "lost"), line(2, "lost", "api.1"), line(3, "lost")]);
  await expect.poll(() => log.status()).toMatchObject({ problem: expect.stringContaining("EEXIST"), linesLost: 3 });
  expect(troubles).toEqual([expect.stringMatching(/^the log cannot be written, lines are lost: EEXIST/)]);
  rmSync(folder);
  await expect.poll(() => log.status().problem).toBe(null);
  log.write([line(4, "back")]);
  await log.close();
  const lines = read(join(folder, "paceline.log"));
  const count = (name: string) =>
    lines.filter((each) => each.name === name).reduce((sum, { lost = 1 }) => sum + lost, 0);
  expect([count("web.1"), count("api.1")]).toEqual([3, 1]);
  expect(lines.at(-1)).toMatchObject({ msg: "back" });
  expect(lines[0]).toMatchObject({
    level: 40,
    msg: expect.stringMatching(/^\[\d lines? lost: the log could not be written/),
  });
});
