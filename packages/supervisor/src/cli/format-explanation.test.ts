/** An explanation fits into 80 columns and one screen, whatever it contains. */
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Explanation, Finding } from "../core/explain-model.js";
import { formatExplanation, wrap } from "./format-explanation.js";

const finding = (what: string): Finding => ({
  ...{ kind: "slow", severity: "warning", about: "web.1", what, evidence: ["CPU 9 %"], todo: "paceline restart web.1" },
});
const screen = { columns: 80, rows: 24 };
const explanation: Explanation = {
  ...{ target: "web.1", kind: "instance", summary: "web.1 has 1 warning.", now: ["ready · pid 7"] },
  findings: [finding("web.1 is slow: p99 400 ms, the pool's median is 5 ms")],
  changes: [{ at: new Date(2026, 1, 3, 10, 31, 7).getTime(), subject: "web.1", text: "is ready" }],
};

it("has the findings, the current state, and the last changes", () => {
  expect(formatExplanation(explanation, { colour: false })).toBe(`web.1: web.1 has 1 warning.
! web.1 is slow: p99 400 ms, the pool's median is 5 ms
    CPU 9 %
  → paceline restart web.1

now
  ready · pid 7

last changes
  10:31:07 is ready`);
});

it("has everything if the output is not a screen, for example a pipe", () => {
  const evidence = Array.from({ length: 3 }, (_, at) => `it was${" word".repeat(50)} ${at}`);
  const findings = Array.from({ length: 30 }, (_, at) => ({ ...finding(`web.${at} is slow`), evidence }));
  const changes = Array.from({ length: 8 }, (_, at) => ({
    at: 0,
    subject: "web",
    text: `did${" this".repeat(50)} ${at}`,
  }));
  const all = formatExplanation({ ...explanation, findings, changes }, { colour: false }).split("\n");
  const ends = (text: string) => all.filter((line) => line.endsWith(text)).length;
  expect(all.filter((line) => /^! web\.\d+ is slow$/.test(line)).length).toBe(30);
  expect(ends("paceline restart web.1")).toBe(30);
  expect([0, 1, 2].map((at) => ends(`word ${at}`))).toEqual([30, 30, 30]);
  expect(ends("this 0") + ends("this 7")).toBe(2);
});

it("fits 80 columns and 24 lines, and counts the lines that do not fit", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "word", " ", "/", "é"), maxLength: 400 });
  fc.assert(
    fc.property(fc.array(text, { maxLength: 30 }), fc.array(text, { maxLength: 9 }), (whats, texts) => {
      const findings = whats.map(finding);
      const changes = texts.map((each) => ({ at: 0, subject: "web", text: each }));
      const shown = formatExplanation({ ...explanation, findings, changes }, { colour: false, screen }).split("\n");
      const widest = Math.max(...shown.map((line) => line.length));
      const count = shown.filter((line) => line.startsWith("!")).length;
      const rest = shown.find((line) => /^ {2}and \d+ more/.test(line));
      expect(widest).toBeLessThanOrEqual(80);
      expect(shown.length).toBeLessThanOrEqual(24);
      expect(count + Number(/\d+/.exec(rest ?? "0")?.[0])).toBe(findings.length);
    }),
    { numRuns: 200 },
  );
});

it.each([
  ["one two three", 7, ["one two", "  three"]],
  ["abcdefghij", 5, ["abcde", "  fgh", "  ij"]],
  ["", 5, [""]],
])("%j within %i", (text, width, lines) => {
  expect(wrap(text, width, "", "  ")).toEqual(lines);
});
