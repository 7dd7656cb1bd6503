import { expect, test } from "vitest";
import type { VerdictTest } from "./verdict-model.js";
import { differenceText, limitText } from "./verdict-model.js";

const TEST: VerdictTest = {
  name: "5xx",
  unit: "points",
  verdict: "pass",
  isRequired: true,
  canary: 0.25,
  control: 0.126,
  interval: [-0.2, 0.61],
  limit: 1,
  isDoubtful: false,
  isClear: true,
};

test.each<[Partial<VerdictTest>, string, string]>([
  [{}, "+0.12 pp", "≤ +1 pp"],
  [{ canary: 0.1259 }, "0 pp", "≤ +1 pp"],
  [{ canary: null }, "", "≤ +1 pp"],
  [{ unit: "ms", canary: 10, control: 30, limit: 15 }, "-20 ms", "≤ +15 ms"],
  [{ unit: "crashes", canary: 2, control: 0, limit: 0 }, "+2", "≤ 0"],
  [{ unit: "MB/min", canary: 61.23, control: 0, limit: 30 }, "+61.2 MB/min", "≤ +30 MB/min"],
])("a test with %o", (changes, difference, limit) => {
  const given = { ...TEST, ...changes };
  expect([differenceText(given), limitText(given)]).toEqual([difference, limit]);
});
