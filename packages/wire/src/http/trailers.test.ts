import { expect, test } from "vitest";
import { areTrailerLines, takesTrailers, trailersOf } from "./trailers.js";

test.each([
  ["trailers", true],
  ["gzip, Trailers;q=0.5", true],
  ["trailers;q=0", false],
  ["gzip, trailers; q=0.000 , x", false],
  ["xtrailers", false],
  ["", false],
])("TE: %s", (te, takes) => {
  expect(takesTrailers(te)).toBe(takes);
});

test.each([
  ["a:\r\n", true],
  ["a: 1\r\nX-Two:  caf\xe9 \r\n", true],
  ["", false],
  ["a: 1", false],
  ["a: 1\n", false],
  ["a : 1\r\n", false],
  [": 1\r\n", false],
  ["a\r\n", false],
  ["a: 1\r\n\r\n", false],
  ["a: 1\r\n b: 2\r\n", false],
  ["a: 1\rb: 2\r\n", false],
  ["a: 1\nb: 2\r\n", false],
  ["a: \0\r\n", false],
  // Its low byte ends a line.
  ["a: \u010a\r\n", false],
])("%j are lines: %s", (text, are) => {
  expect(areTrailerLines(text)).toBe(are);
});

test("names and values of lines", () => {
  expect(trailersOf("A: 1\r\nb:  2:3 \r\nc:\r\n")).toEqual([
    ["A", "1"],
    ["b", "2:3"],
    ["c", ""],
  ]);
  expect(trailersOf("")).toEqual([]);
});
