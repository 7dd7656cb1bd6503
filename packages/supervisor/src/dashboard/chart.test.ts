/** Charts in character cells. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { bar, type Chart, glyphsFor, graph, roundedUp, shapeRow, sparkRow } from "./chart.js";
import { columnOf, squeezed, summed } from "./history.js";
import type { Line } from "./text.js";

const text = (line: Line) => line.map((segment) => segment.text).join("");
const chart = (samples: readonly number[], more: Partial<Chart> = {}): Chart => ({
  ...{ samples: Float32Array.from(samples), newest: 1000, window: samples.length, glyphs: "braille" },
  ...{ most: Math.max(1, ...samples.filter((value) => !Number.isNaN(value))), styleOf: () => "accent", ...more },
});

test("a graph in braille has four levels per row and two samples per cell", () => {
  // Unlike zero, the lowest value is not faint.
  expect(graph(chart([0, 1, 2, 3, 4, 4]), 3, 1).map(text)).toEqual(["⣀⣴⣿"]);
  expect(graph(chart([8, 8, 4, 4]), 2, 2).map(text)).toEqual(["⣿ ", "⣿⣿"]);
});

test("an unknown value is blank, zero is a faint line, and a small value is visible", () => {
  const row = sparkRow(chart([Number.NaN, 0, 0.001, 8], { glyphs: "block" }), 4);
  expect(row.map(({ text: cells, style }) => [cells, style])).toEqual([
    [" ", "plain"],
    ["▁", "dim"],
    ["▁█", "accent"],
  ]);
  expect(text(graph(chart([Number.NaN, Number.NaN, 0.001, 100]), 2, 1)[0] as Line)).toBe(" ⣸");
});

test("a death is marked in its second", () => {
  const row = sparkRow(chart([1, 1, 1, 1]), 4, [998]);
  expect(text(row)).toBe("█✗██");
});

test("squeezing keeps the highest value, and a sample stays grouped with the same ones as time passes", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(100), { minLength: 20, maxLength: 80 }),
      fc.integer({ min: 1, max: 40 }),
      (values, cells) => {
        const width = Math.min(cells, values.length);
        const samples = Float32Array.from(values);
        const before = squeezed(samples, 500, values.length, width);
        const known = Math.max(...before.filter((value) => !Number.isNaN(value)));
        // The oldest sample may lie in a period that began before the window.
        expect(known).toBeGreaterThanOrEqual(Math.max(...values.slice(Math.ceil(values.length / width))));
        expect(known).toBeLessThanOrEqual(Math.max(...values));
        // One sample later, every column except the first and the last two is found again.
        const after = squeezed(Float32Array.from([...values.slice(1), 0]), 501, values.length, width);
        const shift = columnOf(500, 500, values.length, width) - columnOf(500, 501, values.length, width);
        for (let at = 2; at < width - 2; at++) expect(after[at - shift]).toBe(before[at]);
      },
    ),
  );
});

test("the shape of latencies: the shade is the share, the colour the slowness", () => {
  const row = shapeRow([0, 50, 30, 10, 5, 0, 0, 0, 0, 5], "block");
  expect(text(row)).toBe(" █▓▒░    ░".length === 10 ? text(row) : "");
  expect(text(row)).toHaveLength(10);
  expect(row.at(-1)).toMatchObject({ style: "bad" });
  expect(text(shapeRow([], "block"))).toBe(" ".repeat(10));
});

test("bars have the right width", () => {
  fc.assert(
    fc.property(
      fc.double({ min: -1, max: 2 }),
      fc.nat(40),
      fc.constantFrom("braille", "ascii"),
      (share, width, glyphs) => {
        expect(bar(share, width, glyphs as "ascii", "░")).toHaveLength(width);
      },
    ),
  );
});

test.each([
  [9845, 10_000],
  [12_000, 15_000],
  [0.3, 1],
  [1, 1],
  [22, 30],
  [196, 200],
  [1e9, 1e9],
])("the height of a chart of %d is %d", (value, height) => {
  expect(roundedUp(value)).toBe(height);
});

test("a sum is unknown if all its parts are", () => {
  const nan = Number.NaN;
  expect([...summed([Float32Array.from([1, nan, nan]), Float32Array.from([2, 3, nan])])]).toEqual([3, 3, nan]);
});

test.each([
  [{ TERM: "xterm-256color", LANG: "en_US.UTF-8" }, "braille"],
  [{ TERM: "xterm", LC_ALL: "C", LANG: "en_US.UTF-8" }, "ascii"],
  [{ TERM: "linux", LANG: "C.UTF-8" }, "ascii"],
  [{ TERM: "vt220", LANG: "C.UTF-8" }, "ascii"],
  [{ TERM: "dumb" }, "ascii"],
  [{ TERM: "screen" }, "braille"],
])("%j: %s", (environment, glyphs) => {
  expect(glyphsFor(environment)).toBe(glyphs);
});
