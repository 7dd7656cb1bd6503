import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { POISON_MS, PoisonBook, type PoisonFound, requestPattern } from "./poison.js";
import { mayHaveStarted, mayTryElsewhere } from "./retry.js";

function book() {
  const told: PoisonFound[] = [];
  return { book: new PoisonBook((found) => told.push(found)), told };
}

describe("the book of requests that crash their processes", () => {
  it("holds one that crashed two processes within a minute, reports it once, and forgets it", () => {
    const { book: poison, told } = book();
    poison.record("web", "GET /x", "web.1#1", 0);
    poison.record("web", "GET /x", "web.1#1", 1);
    expect(poison.has("web", "GET /x", 1)).toBe(false);
    poison.record("web", "GET /x", "web.2#1", 2);
    for (const [pool, request, is] of [
      ["web", "GET /x", true],
      ["api", "GET /x", false],
      ["web", "POST /x", false],
    ] as const) {
      expect(poison.has(pool, request, 3)).toBe(is);
    }
    poison.record("web", "GET /x", "web.3#1", 3);
    expect(told).toEqual([{ pool: "web", request: "GET /x", processes: ["web.1#1", "web.2#1"] }]);
    expect(poison.has("web", "GET /x", POISON_MS + 2)).toBe(false);
    poison.record("web", "GET /x", "web.4#1", POISON_MS + 2);
    expect(told).toHaveLength(2);
  });

  it("after random deaths, holds exactly those with two in the last minute, and never more than its bound", () => {
    const death = fc.record({ request: fc.nat(5), process: fc.nat(8), wait: fc.constantFrom(0, 1, 20_000, 40_000) });
    fc.assert(
      fc.property(fc.array(death, { maxLength: 60 }), (deaths) => {
        const { book: poison } = book();
        let now = 0;
        const first = new Map<string, number>();
        const all: { request: string; process: string; at: number }[] = [];
        for (const { request, process, wait } of deaths) {
          now += wait;
          // A process exits only once.
          if (first.has(`${process}`)) continue;
          first.set(`${process}`, now);
          all.push({ request: `GET /${request}`, process: `p${process}`, at: now });
          poison.record("web", `GET /${request}`, `p${process}`, now);
          for (let n = 0; n <= 5; n++) {
            const recent = all.filter((one) => one.request === `GET /${n}` && now - one.at < POISON_MS);
            expect(poison.has("web", `GET /${n}`, now)).toBe(recent.length > 1);
          }
        }
      }),
    );
  });

  it("treats every request as one of them while it is full", () => {
    const { book: poison } = book();
    for (let n = 0; n < 10_000; n++) poison.record("web", `GET /${n}`, `p${n}`, n / 1000);
    expect(poison.has("web", "GET /other", 10)).toBe(true);
    expect(poison.has("web", "GET /other", 10 + POISON_MS)).toBe(false);
  });

  it.each([
    ["GET /", "GET /"],
    ["GET /users/17/orders", "GET /users/*/orders"],
    ["DELETE /a/3f2a-99", "DELETE /a/*"],
    [`GET /${"x".repeat(33)}/y`, "GET /*/y"],
    ["GET http://example.com/users/1", "GET /users/*"],
    ["GET http://example.com", "GET /"],
    ["OPTIONS *", "OPTIONS *"],
    [`GET ${"/a".repeat(90)}`, `GET ${"/a".repeat(8)}/…`],
  ])("%s is like %s", (request, pattern) => {
    expect(requestPattern(request)).toBe(pattern);
  });
});

describe("a request that was lost", () => {
  const started = ["closed", "fatal", "bystander", "behindAbandoned", "stalled", "staleConnection"] as const;
  const lost = { sends: 1, starts: 1, wasSent: true, isIdempotent: true, isBodyBuffered: true, isPoison: false };

  it.each(started)("%s: goes to one more process if it may be repeated and has not crashed others", (loss) => {
    expect(mayHaveStarted(loss)).toBe(true);
    expect(mayTryElsewhere(loss, lost)).toBe(true);
    for (const never of [{ starts: 2 }, { isPoison: true }, { isIdempotent: false }, { isBodyBuffered: false }]) {
      expect(mayTryElsewhere(loss, { ...lost, ...never })).toBe(false);
    }
  });

  it.each(["refused", "notStarted", "behindStalled"] as const)("%s: goes on freely", (loss) => {
    expect(mayHaveStarted(loss)).toBe(false);
    expect(mayTryElsewhere(loss, { ...lost, sends: 19, starts: 2, isPoison: true, isIdempotent: false })).toBe(true);
    expect(mayTryElsewhere(loss, { ...lost, isBodyBuffered: false })).toBe(false);
  });
});
