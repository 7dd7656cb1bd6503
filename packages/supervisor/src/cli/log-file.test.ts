/** The log is whole while it can be written, and costs no more than lines when it cannot. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openLogFile } from "./log-file.js";

function place(): string {
  const folder = mkdtempSync(join(tmpdir(), "pl-log-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "log");
}

function read(folder: string): { time: number; name: string; msg: string }[] {
  const lines = readFileSync(join(folder, "paceline.log"), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line));
}

const line = (sequence: number, text: string) => ({ sequence, at: 1_700_000_000_000 + sequence, name: "web.1", text });

test("every line is there as JSON, after those of an earlier start", async () => {
  const folder = place();
  for (const text of ["first", "second"]) {
    const log = openLogFile({ folder, onTrouble: (message) => expect.unreachable(message) });
    log.write(line(1, text));
    await log.close();
  }
  expect(read(folder)).toMatchObject([
    { time: 1_700_000_000_001, name: "web.1", msg: "first" },
    { time: 1_700_000_000_001, name: "web.1", msg: "second" },
  ]);
});

test("a log that cannot be written says so once, drops lines, and comes back with their number", async () => {
  const folder = place();
  writeFileSync(folder, "a file where the folder should be");
  const troubles: string[] = [];
  let trouble = () => {};
  const troubled = new Promise<void>((resolve) => {
    trouble = resolve;
  });
  const log = openLogFile({
    folder,
    retryMs: 1,
    onTrouble: (message) => {
      troubles.push(message);
      trouble();
    },
  });
  log.write(line(1, "lost on its way"));
  await troubled;
  expect(troubles).toEqual([expect.stringContaining("the log cannot be written")]);
  rmSync(folder);
  await expect
    .poll(() => {
      log.write(line(2, "back"));
      try {
        return read(folder).map(({ msg }) => msg);
      } catch {
        return [];
      }
    })
    .toContain("back");
  await log.close();
});
