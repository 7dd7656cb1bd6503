import fc from "fast-check";
import { expect, it } from "vitest";
import { fieldLinesOf, pairsOf, plainFieldLines, repeatedFieldLines } from "./response-head.js";

const FIELDS = fc.dictionary(
  fc.constantFrom("a", "A", "x-b", "X-B", "x-B", "Content-Type", "content-length", "connection", "set-cookie", "b: a"),
  fc.constantFrom("", "1", "a b", " a", "b\t", "é", "a: b", "12"),
);

const sorted = (text: string) => text.split("\r\n").sort().join("\r\n");

it("reads the fields of a plain object as the platform's Headers show them", () => {
  let known = 0;
  fc.assert(
    fc.property(FIELDS, (fields) => {
      let headers: Headers;
      try {
        headers = new Headers(fields);
      } catch {
        return;
      }
      const read = plainFieldLines(fields);
      if (read === undefined) return;
      known++;
      const expected = fieldLinesOf(headers);
      expect({ ...read, text: sorted(read.text) }).toEqual({ ...expected, text: sorted(expected.text) });
    }),
    { numRuns: 1000 },
  );
  expect(known).toBeGreaterThan(20);
});

it.each([
  ["names that only differ in case", { "x-b": "1", "X-B": "2" }],
  ["in either order", { "X-B": "1", "x-b": "2" }],
  ["or both with capitals", { "X-b": "1", "x-B": "2" }],
  ["numbers", { a: 1 }],
  ["lists", { a: ["1", "2"] }],
  ["spaces that the platform removes", { a: "1 " }],
  ["pairs", [["a", "1"]]],
  ["Headers", new Headers({ a: "1" })],
  ["null", null],
])("leaves to the platform: %s", (_, fields) => {
  expect(plainFieldLines(fields)).toBeUndefined();
});

it.each([
  [
    [
      ["content-length", "9"],
      ["transfer-encoding", "chunked"],
    ],
    -1,
  ],
  [
    [
      ["transfer-encoding", "chunked"],
      ["content-length", "9"],
    ],
    -1,
  ],
  [[["content-length", "9"]], 9],
] as [[string, string][], number][])("reads the length of %j as %i", (fields, length) => {
  expect(fieldLinesOf(fields)).toEqual({ text: "", contentLength: length, hasContentType: false });
});

it("keeps what it has read", () => {
  const first = plainFieldLines({ A: "1" });
  expect(plainFieldLines({ "content-type": "text/css" })?.hasContentType).toBe(true);
  expect(first).toEqual({ text: "a: 1\r\n", contentLength: -1, hasContentType: false });
  expect(plainFieldLines(undefined)?.text).toBe("");
});

it.each([
  ["another value", { a: "1", "content-type": "text/html" }],
  ["another name", { b: "1", "content-type": "text/css" }],
  ["fewer fields", { a: "1" }],
  ["more fields", { a: "1", "content-type": "text/css", b: "2" }],
  ["another order", { "content-type": "text/css", a: "1" }],
  ["a long value", { a: "1".repeat(2000), "content-type": "text/css" }],
  ["no fields", {}],
])("does not take %s for the fields of the last response", (_, fields) => {
  const before = { a: "1", "content-type": "text/css" };
  const first = plainFieldLines(before);
  expect(plainFieldLines({ ...before })).toBe(first);
  expect(repeatedFieldLines({ ...before })).toBe(first);
  expect(repeatedFieldLines(fields)).toBeUndefined();
  const expected = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  for (let time = 0; time < 2; time++) expect(plainFieldLines(fields)?.text).toBe(expected.join(""));
  expect(plainFieldLines({ a: 1 })).toBeUndefined();
  expect(plainFieldLines(before)).toEqual(first);
});

it.each([
  ["fields", { A: "1", "content-type": "text/css; a: b" }, true],
  ["an empty value", { a: "" }, true],
  ["a length", { a: "1", "content-length": "3" }, false],
  ["a hop-by-hop field", { connection: "close" }, false],
])("repeats lines from which the same fields can be created: %s", (_, fields, isRepeated) => {
  const lines = plainFieldLines(fields);
  const again = repeatedFieldLines({ ...fields });
  expect(again).toBe(isRepeated ? lines : undefined);
  if (again === undefined) return;
  expect(pairsOf(again.text)).toEqual(Object.entries(fields).map(([name, value]) => [name.toLowerCase(), value]));
});
