/** What follows from consecutive health checks. */
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
  // It is killed immediately, even if it would also go out of service.
  ["--", { healthFailures: 2, healthFall: 2, healthRise: 2 }, ".e"],
  // An earlier version sends only this.
  ["--+---", { healthFailures: 3 }, ".....e"],
])("%s with %o: %s", (checks, rule, changes) => {
  expect(follow(checks, rule)).toBe(changes);
});

it("goes out of service and comes back alternately, and always comes back after enough good checks", () => {
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
