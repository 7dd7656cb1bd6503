import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type FleetLoadFacts, type MachineLoad, weigh } from "./machine-weight.js";

const CALM: FleetLoadFacts = { isStopping: false, serving: 4, wanted: 4, cpu: 0.2, inFlight: 3, waiting: 0 };
const RAN: MachineLoad = { at: 0, load: 0.2 };
/** Long enough for the load to settle. */
const LATER = 120_000;

describe("what HAProxy receives", () => {
  it.each<[what: string, facts: Partial<FleetLoadFacts>, line: string]>([
    ["a calm fleet", {}, "up ready 100%"],
    ["half of the CPU time", { cpu: 0.5 }, "up ready 100%"],
    ["three quarters of the CPU time", { cpu: 0.75 }, "up ready 55%"],
    ["all CPUs are busy", { cpu: 1 }, "up ready 10%"],
    ["the CPU time is unknown", { cpu: null }, "up ready 100%"],
    ["most requests wait", { inFlight: 8, waiting: 6 }, "up ready 55%"],
    ["all wait", { inFlight: 8, waiting: 8 }, "up ready 10%"],
    ["no request is here", { inFlight: 0, waiting: 0 }, "up ready 100%"],
    ["half of its instances serve", { serving: 2 }, "up ready 50%"],
    ["half of them, and all CPUs are busy", { serving: 2, cpu: 1 }, "up ready 5%"],
    ["more serve than wanted, in a rollout", { serving: 5 }, "up ready 100%"],
    ["one of many, at full load", { serving: 1, wanted: 64, cpu: 1 }, "up ready 1%"],
    ["none serves", { serving: 0 }, "down #no instance serves"],
    ["it stops", { isStopping: true, serving: 0 }, "drain"],
  ])("%s", (_what, facts, line) => {
    expect(weigh({ ...CALM, ...facts }, RAN, LATER).line).toBe(line);
  });

  it("counts a peak slowly, and forgets it", () => {
    const peak = { ...CALM, cpu: 1 };
    const soon = weigh(peak, RAN, 2_000);
    expect(soon.line).toBe("up ready 100%");
    const long = weigh(peak, soon.load, 30_000);
    expect(long.line).toBe("up ready 17%");
    expect(weigh(CALM, long.load, LATER).line).toBe("up ready 100%");
    // After a time without instances, the former load means nothing.
    expect(weigh({ ...peak, serving: 0 }, long.load, LATER).load).toBeUndefined();
  });

  it("is a weight of 1 to 100 percent whenever an instance serves", () => {
    const facts = fc.record({
      isStopping: fc.constant(false),
      serving: fc.integer({ min: 1, max: 1024 }),
      wanted: fc.integer({ min: 0, max: 1024 }),
      cpu: fc.option(fc.double({ min: 0, max: 2, noNaN: true })),
      inFlight: fc.double({ min: 0, max: 1e6, noNaN: true }),
      waiting: fc.double({ min: 0, max: 1e6, noNaN: true }),
    });
    const before = fc.option(
      fc.record({ at: fc.integer({ min: 0, max: 2000 }), load: fc.double({ min: 0, max: 1, noNaN: true }) }),
      { nil: undefined },
    );
    fc.assert(
      fc.property(facts, before, (given, former) => {
        const percent = Number(/^up ready (\d+)%$/.exec(weigh(given, former, 1000).line)?.[1]);
        expect(percent).toBeGreaterThanOrEqual(1);
        expect(percent).toBeLessThanOrEqual(100);
      }),
    );
  });

  it("stabilizes between two machines that share a load", () => {
    for (const demand of [0.4, 1, 1.4, 1.8, 1.96]) {
      let loads: (MachineLoad | undefined)[] = [undefined, undefined];
      // One machine starts with the whole load.
      let shares = [1, 0];
      const moves: number[] = [];
      for (let now = 0; now < 600_000; now += 2000) {
        const said = shares.map((share, box) => weigh({ ...CALM, cpu: Math.min(1, demand * share) }, loads[box], now));
        loads = said.map(({ load }) => load);
        const weights = said.map(({ line }) => Number(/(\d+)%/.exec(line)?.[1]));
        const sum = weights.reduce((all, weight) => all + weight, 0);
        const next = weights.map((weight) => weight / sum);
        moves.push(Math.abs((next[0] ?? 0) - (shares[0] ?? 0)));
        shares = next;
      }
      expect(Math.abs((shares[0] ?? 0) - 0.5), `demand ${demand}`).toBeLessThan(0.06);
      expect(Math.max(...moves.slice(-20)), `demand ${demand}`).toBeLessThan(0.05);
    }
  });
});
