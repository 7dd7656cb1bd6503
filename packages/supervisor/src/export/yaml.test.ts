/** Written documents are read the same by another parser, in YAML 1.2 and 1.1. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { type Yaml, yaml } from "./yaml.js";

const WORDS = [
  "yes",
  "NO",
  "null",
  "~",
  "1e3",
  "e0",
  "E_1",
  "0x1f",
  "12:30",
  "- a",
  "a: b",
  "a #b",
  "",
  " ",
  "@a",
  "*a",
  "2001-01-01",
  "a:",
  ".",
  "/-/ready",
];

it("is read back by a parser", () => {
  const scalar = fc.oneof(fc.string(), fc.constantFrom(...WORDS), fc.integer(), fc.boolean());
  const key = fc
    .oneof(fc.string(), fc.constantFrom(...WORDS))
    .filter((text) => !text.startsWith("#") && text !== "__proto__");
  const { tree } = fc.letrec<{ tree: Yaml }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 3 },
      scalar,
      fc.array(tie("tree"), { maxLength: 3 }),
      fc.dictionary(key, tie("tree"), { maxKeys: 3, noNullPrototype: true }),
    ),
  }));
  fc.assert(
    fc.property(fc.dictionary(key, tree, { minKeys: 1, maxKeys: 4, noNullPrototype: true }), (value) => {
      const text = yaml(value);
      expect(parse(text, { version: "1.2" }), text).toEqual(value);
      expect(parse(text, { version: "1.1" }), text).toEqual(value);
    }),
  );
});

it("has comments in their places, and leaves out undefined values", () => {
  const text = yaml({ "#": "first", a: [{ b: 1, c: undefined, d: {} }], "#2": "last", e: [[1], []] }, ["head"]);
  expect(text).toBe("# head\n# first\na:\n  - b: 1\n    d: {}\n# last\ne:\n  - - 1\n  - []\n");
});
