import { appendFileSync, existsSync, mkdtempSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { OutputFile } from "./output.js";

function open(maxBytes = 1000) {
  const path = join(mkdtempSync(join(tmpdir(), "output-")), "out");
  const lines: string[] = [];
  return { path, lines, file: new OutputFile(path, maxBytes, (line) => lines.push(line)) };
}

test("lines are told whole, however they were written, and the rest at the end", () => {
  const { file, lines, path } = open();
  writeSync(file.fd, "one\ntw");
  file.read();
  expect(lines).toEqual(["one"]);
  writeSync(file.fd, "o\r\n\nthree");
  file.read();
  expect(lines).toEqual(["one", "two"]);
  file.close();
  expect(lines).toEqual(["one", "two", "three"]);
  expect(existsSync(path)).toBe(false);
});

test("the file is kept within its bound, and what is written later still comes", () => {
  const { file, lines, path } = open(100);
  for (const part of [60, 41]) {
    writeSync(file.fd, "x".repeat(part));
    file.read();
  }
  expect(statSync(path).size).toBe(0);
  appendFileSync(path, "y\nnext\n");
  file.read();
  expect(lines).toEqual([`${"x".repeat(101)}y`, "next"]);
});

test("a flood is cut, and the cut is told", () => {
  const { file, lines } = open(100);
  writeSync(file.fd, `${"a".repeat(500)}\nlast\n`);
  file.read();
  expect(lines[0]).toBe("[406 bytes of output left out]");
  expect(lines.at(-1)).toBe("last");
});

test("a line that is too long is cut, and the next one is whole", () => {
  const { file, lines } = open(1 << 20);
  writeSync(file.fd, `${"z".repeat(20_000)}\nnext\n`);
  file.read();
  expect(lines[0]).toBe(`${"z".repeat(8192)} […]`);
  expect(lines[1]).toBe("next");
});

test("only the last lines are kept", () => {
  const { file } = open(1 << 20);
  for (let n = 1; n <= 50; n++) writeSync(file.fd, `${n}\n`);
  file.read();
  expect(file.lastLines).toHaveLength(20);
  expect(file.lastLines.at(-1)).toBe("50");
});
