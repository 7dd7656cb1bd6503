/** What follows from health checks in a row. */
import fc from "fast-check";
import { expect, it, test } from "vitest";
import { type CheckRule, countCheck, NO_CHECKS } from "./checks.js";

/** Returns a letter for each check: out, back, end or nothing. */
function follow(checks: string, rule: CheckRule): string {
  let count = NO_CHECKS;
  return [...checks]
    .map((check) => {
      const next = countCheck(count, check === "+", rule);
      count = next;
      return next.change?.[0] ?? ".";
    })
    .join("");
}

test.each<[checks: string, rule: CheckRule, changes: string]>([
  ["+--+++", { healthFailures: 4, healthFall: 2, healthRise: 2 }, "..o.b."],
  ["-+-+-+", { healthFailures: 4, healthFall: 2, healthRise: 2 }, "......"],
  ["--+-++", { healthFailures: 4, healthFall: 2, healthRise: 2 }, ".o...b"],
  ["----", { healthFailures: 4, healthFall: 2, healthRise: 2 }, ".o.e"],
  ["------+", { healthFailures: 0, healthFall: 2, healthRise: 1 }, ".o....b"],
  // It is ended at once, also if it would go out of turn.
  ["--", { healthFailures: 2, healthFall: 2, healthRise: 2 }, ".e"],
  // An earlier version sends no more than this.
  ["--+---", { healthFailures: 3 }, ".....e"],
])("%s with %o: %s", (checks, rule, changes) => {
  expect(follow(checks, rule)).toBe(changes);
});

it("goes out and comes back in turns, and always comes back after enough good checks", () => {
  const rules = fc.record({
    healthFailures: fc.nat({ max: 6 }),
    healthFall: fc.nat({ max: 6 }),
    healthRise: fc.nat({ max: 6 }),
  });
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 60 }), rules, (checks, rule) => {
      const all = `${checks.map((isGood) => (isGood ? "+" : "-")).join("")}++++++`;
      const moves = follow(all, rule).replace(/[.e]/g, "");
      expect(moves).toMatch(/^(ob)*$/);
    }),
  );
});
