import fc from "fast-check";
import { expect, test } from "vitest";
import { Liveness, type Watched } from "./liveness.js";

const none = () => false;

function watched(...ids: string[]): Watched[] {
  return ids.map((id) => ({ id, pool: id.replace(/\..*/, ""), isBusy: false, hangAfterMs: 30_000 }));
}

/** Ticks each second. */
function pass(liveness: Liveness, from: number, seconds: number, all: Watched[]): string[] {
  const asked: string[] = [];
  for (let n = 0; n <= seconds; n++) asked.push(...liveness.tick((from + n) * 1000, all));
  return asked;
}

test("an idle process is asked each 10 s and a busy one after 2 s; one that answers is neither stalled nor hung", () => {
  const liveness = new Liveness();
  const [idle, busy] = watched("web.1#1", "web.2#1") as [Watched, Watched];
  const all = [idle, { ...busy, isBusy: true }];
  expect(pass(liveness, 0, 9, all)).toEqual(["web.2#1"]);
  expect(pass(liveness, 10, 0, all)).toEqual(["web.1#1"]);
  expect(liveness.stalledMs("web.2#1")).toBe(8000);
  liveness.heard("web.1#1");
  liveness.heard("web.2#1");
  expect(liveness.stalledMs("web.2#1")).toBeNull();
  expect(pass(liveness, 11, 8, [idle])).toEqual([]);
  expect(pass(liveness, 20, 0, [idle])).toEqual(["web.1#1"]);
});

test("one that does not answer is hung after hangAfterMs, and never where that is 0", () => {
  const liveness = new Liveness();
  const all = watched("web.1#1", "patient.1#1").map((each) =>
    each.pool === "patient" ? { ...each, hangAfterMs: 0 } : each,
  );
  pass(liveness, 0, 39, all);
  expect(liveness.hasOverdue(all)).toBe(false);
  pass(liveness, 40, 100, all);
  expect(liveness.hung(all, none)).toEqual(["web.1#1"]);
  expect(liveness.stalledMs("patient.1#1")).toBeGreaterThan(100_000);
});

test("of a pool the one that has been silent for longest, and none while another is coming back", () => {
  const liveness = new Liveness();
  const first = watched("web.2#1");
  pass(liveness, 0, 5, first);
  const all = watched("web.1#1", "web.2#1", "api.1#1");
  pass(liveness, 6, 60, all);
  expect(liveness.hung(all, none)).toEqual(["web.2#1", "api.1#1"]);
  expect(liveness.hung(all, (pool) => pool === "web")).toEqual(["api.1#1"]);
});

test("a supervisor, or a machine, that stood still blames nobody for it", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1000, max: 10_000_000 }), { maxLength: 15 }), (gaps) => {
      const liveness = new Liveness();
      const all = watched("web.1#1", "web.2#1");
      pass(liveness, 0, 10, all);
      let now = 10_000;
      for (const gap of gaps) {
        now += gap;
        liveness.tick(now, all);
      }
      // At most 15 ticks, at any distance: less than 30 s of ours.
      expect(liveness.hasOverdue(all)).toBe(false);
    }),
  );
});
