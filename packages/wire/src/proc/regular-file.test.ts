import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readRegularFile } from "./regular-file.js";

const folder = mkdtempSync(join(tmpdir(), "paceline-regular-file-"));
const at = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));
writeFileSync(at("ten"), "0123456789");
symlinkSync("ten", at("link"));
symlinkSync("loop", at("loop"));
mkdirSync(at("folder"));
execFileSync("mkfifo", [at("pipe")]);

const codeOf = (path: string, maxBytes = 100) => {
  try {
    return readRegularFile(path, { maxBytes }).toString();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
};

// The first one waits forever if the file is opened as usual.
test.each([
  [at("pipe"), "not-regular"],
  ["/dev/zero", "not-regular"],
  [at("folder"), "not-regular"],
  [at("loop"), "ELOOP"],
  [at("none"), "ENOENT"],
  [at("link"), "0123456789"],
  ["/dev/null", ""],
])("%s: %s", (path, result) => expect(codeOf(path)).toBe(result));

test("a file may be as large as its limit", () => {
  expect(codeOf(at("ten"), 10)).toBe("0123456789");
  expect(codeOf(at("ten"), 9)).toBe("too-large");
  expect(readRegularFile(at("ten"), { maxBytes: 4, onlyHead: true }).toString()).toBe("0123");
});

test("a file in /proc is read, although its size is 0", () => {
  expect(codeOf("/proc/self/status", 1 << 20)).toContain("Pid:");
});
