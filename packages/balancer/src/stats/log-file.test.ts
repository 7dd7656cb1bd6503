/** The file of an access log on a disk that gets full: the file has only complete lines, and the other lines are counted. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { LogFile } from "./log-file.js";

/** A file with room for `room` bytes only: further bytes are not written, and after that the disk is full. */
function open(room: number) {
  const folder = mkdtempSync(join(tmpdir(), "pl-log-"));
  const path = join(folder, "log");
  const disk = { room, attempts: 0 };
  const log = new LogFile({
    target: path,
    lostLine: (lines) => `lost ${lines}\n`,
    onProblem: () => {},
    write(fd, bytes, at, length, done) {
      const fits = Math.min(length, disk.room);
      disk.room -= fits;
      disk.attempts++;
      if (fits === 0) return done(new Error("ENOSPC: no space left on device, write"), 0);
      done(null, writeSync(fd, bytes, at, fits));
    },
  });
  onTestFinished(() => {
    log.close();
    rmSync(folder, { recursive: true });
  });
  let next = 0;
  /** Adds lines of six bytes, and waits until the log has tried to write them. */
  const add = async (lines: number) => {
    const { attempts } = disk;
    for (let n = 0; n < lines; n++) {
      const text = `line${next++ % 10}\n`;
      if (log.hasRoom(100)) log.added(log.length + log.filled.write(text, log.length));
    }
    await expect.poll(() => disk.attempts, { timeout: 10_000 }).toBeGreaterThan(attempts);
  };
  const has = (text: string) => expect.poll(() => readFileSync(path, "utf8"), { timeout: 10_000 }).toContain(text);
  /** Whether every line of the file is complete, and the missing lines are counted. */
  const isWhole = (added: number) =>
    expect
      .poll(
        () => {
          const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
          expect(lines).toEqual(lines.map(() => expect.stringMatching(/^(line\d|lost \d+)$/)));
          return lines.reduce((sum, line) => sum + (line.startsWith("lost ") ? Number(line.slice(5)) : 1), 0);
        },
        { timeout: 10_000 },
      )
      .toBe(added);
  return { disk, add, has, isWhole, path };
}

test("a line that was cut off is completed when there is room again, and all other lines are counted", async () => {
  const { disk, add, has, isWhole } = open(15);
  await add(5);
  await has("line0\nline1\nlin");
  // Failing attempts, some of them with a report of the lines lost so far.
  for (const lines of [3, 1, 1]) await add(lines);
  disk.room = 1;
  await add(2);
  await has("line0\nline1\nline");
  disk.room = 1000;
  await add(2);
  await has("line0\nline1\nline2\n");
  await isWhole(14);
});

test("a report that was cut off is completed", async () => {
  const { disk, add, has, isWhole } = open(0);
  await add(4);
  disk.room = 3;
  await add(1);
  await has("l");
  disk.room = 1000;
  await add(1);
  await isWhole(6);
});

test.each([
  [
    "others have written to the file since",
    (path: string) => appendFileSync(path, "other\n"),
    "linother\n\nline1\nlost 1\n",
  ],
  ["the file was emptied", (path: string) => truncateSync(path), "\nline1\nlost 1\n"],
])("a cut line is only ended if %s", async (_, change, text) => {
  const { disk, add, has, path } = open(3);
  await add(1);
  await has("lin");
  change(path);
  disk.room = 1000;
  await add(1);
  await has(text);
});
