/** Every line is output completely or in pieces, or is counted as lost, for any split of the bytes. */
import { expect, test } from "vitest";
import { LineCutter, MAX_LINE_BYTES } from "./line-cutter.js";

function cut(parts: (string | Buffer)[]): string[] {
  const cutter = new LineCutter();
  const lines: string[] = [];
  for (const part of parts) cutter.take(Buffer.from(part as string), lines);
  cutter.end(lines);
  expect(cutter.takeLost()).toBe(0);
  return lines;
}

test.each<[string, (string | Buffer)[], string[]]>([
  ["lines over several reads", ["one\ntw", "o\r\n", "\nthr", "ee"], ["one", "two", "", "three"]],
  ["nothing", [""], []],
  ["a character over two reads", [Buffer.from("é\n").subarray(0, 1), Buffer.from("é\n").subarray(1)], ["é"]],
  ["many lines at once", ["a\nb\r\nc\n\nd\n"], ["a", "b", "c", "", "d"]],
  ["the longest line", [`${"x".repeat(MAX_LINE_BYTES)}`, "\ny\n"], ["x".repeat(MAX_LINE_BYTES), "y"]],
  ["a longer one", ["x".repeat(MAX_LINE_BYTES), "zz\ny\n"], ["x".repeat(MAX_LINE_BYTES), "zz", "y"]],
])("%s", (_, parts, lines) => {
  expect(cut(parts)).toEqual(lines);
});

test("a character is not split where a long line is cut", () => {
  const long = `${"x".repeat(MAX_LINE_BYTES - 1)}é`;
  expect(cut([long.slice(0, 1000), long.slice(1000), "\n"])).toEqual(["x".repeat(MAX_LINE_BYTES - 1), "é"]);
});

test("printed and lost lines add up to the written lines, wherever the loss begins and ends", () => {
  const text = Array.from({ length: 40 }, (_, n) => "x".repeat(n % 7)).join("\n");
  const bytes = Buffer.from(`${text}\n`);
  for (let from = 0; from < bytes.length; from += 3) {
    for (let to = from + 1; to <= bytes.length; to += 5) {
      const cutter = new LineCutter();
      const lines: string[] = [];
      cutter.take(bytes.subarray(0, from), lines);
      cutter.skip(bytes.subarray(from, to));
      cutter.take(bytes.subarray(to), lines);
      cutter.end(lines);
      expect(lines.length + cutter.takeLost(), `${from} to ${to}`).toBe(40);
      for (const line of lines) expect(line).toMatch(/^x*$/);
    }
  }
});

test("the rest of a line that was printed in pieces does not count as a lost line", () => {
  const cutter = new LineCutter();
  const lines: string[] = [];
  cutter.take(Buffer.from("x".repeat(MAX_LINE_BYTES)), lines);
  cutter.take(Buffer.from("x"), lines);
  cutter.skip(Buffer.from("x\ny\nlo"));
  cutter.take(Buffer.from("st\nz\n"), lines);
  expect(lines.map((line) => line.slice(0, 1))).toEqual(["x", "z"]);
  expect(cutter.takeLost()).toBe(2);
});
