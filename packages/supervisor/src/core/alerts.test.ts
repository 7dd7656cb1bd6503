/** Which alerts a destination gets. */
import { describe, expect, it } from "vitest";
import { type Alert, AlertDesk, type AlertRule, alertText, isQuiet, retryDelayMs } from "./alerts.js";

const rule: AlertRule = { on: ["death", "pool-down"], repeatAfterMs: 600_000, maxPerHour: 100, quiet: null };
const night = { from: 22 * 60, to: 7 * 60, timezone: null, except: ["pool-down"] as const };
const death = (subject: string): Omit<Alert, "count"> => ({
  kind: "death",
  level: "warn",
  subject,
  message: "died",
  at: 0,
});
const NOON = 720;

describe("an alert", () => {
  it("is delivered if its kind is chosen", () => {
    const desk = new AlertDesk();
    expect(desk.take(death("web.1"), rule, 0, NOON)).toEqual({ ...death("web.1"), count: 1 });
    expect(desk.take({ ...death("web.1"), kind: "memory" }, rule, 0, NOON)).toBeUndefined();
  });

  it("about the same subject is delivered once per period, and then says how many there were", () => {
    const desk = new AlertDesk();
    const counts = [0, 1_000, 599_999, 600_000, 600_001].map(
      (now) => desk.take(death("web.1"), rule, now, NOON)?.count,
    );
    expect(counts).toEqual([1, undefined, undefined, 3, undefined]);
    expect(desk.take(death("web.2"), rule, 2, NOON)?.count).toBe(1);
    expect(desk.suppressedTotal).toBe(3);
  });

  it("is held back in quiet hours, unless it is an exception, and one summary follows", () => {
    const desk = new AlertDesk();
    const quiet = { ...rule, quiet: night };
    expect(desk.take(death("web.1"), quiet, 0, 23 * 60)).toBeUndefined();
    expect(desk.take(death("web.2"), quiet, 0, 3 * 60)).toBeUndefined();
    expect(desk.take({ ...death("web"), kind: "pool-down" }, quiet, 0, 3 * 60)?.kind).toBe("pool-down");
    expect(desk.release(quiet, 5, 6 * 60)).toBeUndefined();
    expect(desk.heldCount).toBe(2);
    expect(desk.release(quiet, 5, 7 * 60)).toMatchObject({
      kind: "summary",
      count: 2,
      message: "2 alerts in quiet hours: web.1: died; web.2: died",
    });
    expect(desk.release(quiet, 6, 7 * 60)).toBeUndefined();
  });

  it("beyond maxPerHour is dropped; the last one before the limit says so, and the next one after it", () => {
    const desk = new AlertDesk();
    const two = { ...rule, maxPerHour: 2 };
    const messages = [0, 1, 2, 3, 3_600_000].map((now) => desk.take(death(`web.${now}`), two, now, NOON)?.message);
    expect(messages).toEqual([
      "died",
      "died; no more alerts for up to an hour (maxPerHour 2)",
      undefined,
      undefined,
      "died; 2 alerts before this one were not delivered (maxPerHour 2); no more alerts for up to an hour (maxPerHour 2)",
    ]);
  });

  it("is remembered for a bounded number of subjects", () => {
    const desk = new AlertDesk();
    const many = { ...rule, maxPerHour: 1e6, quiet: night };
    for (let at = 0; at < 5_000; at++) desk.take(death(`web.${at}`), many, at, 0);
    expect((desk as unknown as { known: Map<string, unknown> }).known.size).toBe(512);
    expect((desk as unknown as { held: unknown[] }).held.length).toBe(100);
    expect(desk.release(many, 6_000, NOON)?.count).toBe(5_000);
  });
});

it.each([
  [22 * 60, 7 * 60, [0, 6 * 60 + 59, 22 * 60], [7 * 60, NOON, 21 * 60 + 59]],
  [60, 120, [60, 119], [0, 120]],
  [60, 60, [], [0, 60]],
])("from minute %i to %i it is quiet", (from, to, inside, outside) => {
  const hours = { ...night, from, to };
  expect(inside.map((minute) => isQuiet(hours, minute))).toEqual(inside.map(() => true));
  expect(outside.map((minute) => isQuiet(hours, minute))).toEqual(outside.map(() => false));
});

it("is one line of text", () => {
  expect(alertText("shop", { ...death("web.1"), count: 3 })).toBe("shop: web.1 died (3 times since the last alert)");
  expect(alertText("shop", { ...death("paceline"), count: 1 })).toBe("shop: died");
});

it("is tried again after growing delays", () => {
  expect([1, 2, 3, 4, 9].map(retryDelayMs)).toEqual([1_000, 5_000, 25_000, 60_000, 60_000]);
});
