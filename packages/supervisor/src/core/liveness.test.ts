import fc from "fast-check";
import { expect, test } from "vitest";
import { Liveness, type Watched } from "./liveness.js";

const none = () => false;

function watched(...ids: string[]): Watched[] {
  return ids.map((id) => ({ id, pool: id.replace(/\..*/, ""), isBusy: false, hangAfterMs: 30_000, isCanary: false }));
}

/** Ticks each second. */
function pass(liveness: Liveness, from: number, seconds: number, all: Watched[]): string[] {
  const asked: string[] = [];
  for (let n = 0; n <= seconds; n++) asked.push(...liveness.tick((from + n) * 1000, all));
  return asked;
}

test("an idle process is asked each 10 s and a busy one after 2 s; one that responds is neither stalled nor hung", () => {
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

test("one that does not respond is hung after hangAfterMs, and never if that is 0", () => {
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

test("of a pool, only the one that has been silent longest is hung, and none while another is recovering", () => {
  const liveness = new Liveness();
  const first = watched("web.2#1");
  pass(liveness, 0, 5, first);
  const all = watched("web.1#1", "web.2#1", "api.1#1");
  pass(liveness, 6, 60, all);
  expect(liveness.hung(all, none)).toEqual(["web.2#1", "api.1#1"]);
  expect(liveness.hung(all, (pool) => pool === "web")).toEqual(["api.1#1"]);
});

/**
 * For how many seconds a ping has not been answered by the canary and by the instances in service; and for how many an earlier one was not.
 */
const SILENT: { canary: number; now: number[]; before: number[]; hangAfterMs?: number; isHung: boolean }[] = [
  { canary: 9, now: [0], before: [0], isHung: false },
  { canary: 10, now: [0], before: [0], isHung: true },
  { canary: 10, now: [4], before: [9], isHung: true },
  // The instances in service are blocked, too, or were for as long.
  { canary: 20, now: [0, 5], before: [0, 0], isHung: false },
  { canary: 20, now: [0, 0], before: [0, 10], isHung: false },
  { canary: 30, now: [0, 0], before: [0, 10], isHung: true },
  // There is nothing to compare with.
  { canary: 29, now: [], before: [], isHung: false },
  { canary: 30, now: [], before: [], isHung: true },
  { canary: 29, now: [0], before: [0], hangAfterMs: 90_000, isHung: false },
  { canary: 30, now: [0], before: [0], hangAfterMs: 90_000, isHung: true },
  { canary: 500, now: [0], before: [0], hangAfterMs: 0, isHung: false },
];

test("a canary that is silent while those in service respond is hung after a third of hangAfterMs", () => {
  for (const { canary, now, before, hangAfterMs = 30_000, isHung } of SILENT) {
    const liveness = new Liveness();
    const tried: Watched = { id: "web.1#2", pool: "web", isBusy: true, hangAfterMs, isCanary: true };
    const inService = now.map((_, n): Watched => ({ ...tried, id: `web.${n + 1}#1`, isCanary: false }));
    // A process of another pool does not count for the comparison.
    const all = [tried, ...inService, ...watched("api.1#1")];
    let at = 0;
    /** A busy process is asked after 2 s of silence. */
    const passWith = (unanswered: number[]) => {
      const silent = unanswered.map((seconds) => (seconds === 0 ? 0 : seconds + 2));
      for (let left = Math.max(...silent) + 1; left > 0; left--) {
        for (const [n, { id }] of all.entries()) if (left >= (silent[n] ?? 0)) liveness.heard(id);
        liveness.tick(1000 * at++, all);
      }
    };
    passWith([0, ...before]);
    passWith([canary, ...now]);
    expect([canary, now, before, liveness.hung(all, none)]).toEqual([canary, now, before, isHung ? [tried.id] : []]);
  }
});

test("no process is blamed for a pause of the supervisor or of the machine", () => {
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
      // At most 15 ticks, at any intervals: less than 30 s of our time.
      expect(liveness.hasOverdue(all)).toBe(false);
    }),
  );
});
