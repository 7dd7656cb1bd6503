/** Which late requests are sent to a second upstream, when, and how many. The clock is simulated. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { Hedging, type WaitingRequest } from "./hedging.js";

/** A pool whose clock moves with `pass`, which also runs what is due. */
function poolOf() {
  let now = 0;
  let due: { at: number; wake: () => void } | undefined;
  const hedging = new Hedging(
    () => now,
    (ms, wake) => {
      expect(due).toBeUndefined();
      due = { at: now + ms, wake };
    },
  );
  const pass = (ms: number) => {
    const until = now + ms;
    while (due !== undefined && due.at <= until) {
      const { at, wake } = due;
      now = at;
      due = undefined;
      wake();
    }
    now = until;
  };
  const again: [string, number][] = [];
  const request = (name: string, hasRoom = () => true): WaitingRequest => ({
    sentAtMs: 0,
    sendAgain() {
      if (hasRoom()) again.push([name, now]);
      return hasRoom();
    },
  });
  /** Serves this many requests of 10 ms, and one second passes. */
  const serve = (requests: number) => {
    for (let at = 0; at < requests; at++) {
      const each = request("served");
      hedging.sent(each);
      pass(10);
      hedging.responded(each);
    }
    hedging.earn(requests, 1);
  };
  return { hedging, pass, request, serve, again, now: () => now };
}

it("sends nothing again before it knows how long responses take and has a budget", () => {
  const { hedging, pass, request, serve, again } = poolOf();
  hedging.sent(request("early"));
  serve(80);
  pass(10_000);
  hedging.earn(0, 1);
  expect(again).toEqual([]);
});

it("sends a request again once, after the 95th percentile of the response times, unless it has been served", () => {
  const { hedging, pass, request, serve, again, now } = poolOf();
  serve(200);
  const [late, served, left] = [request("late"), request("served"), request("left")];
  const sentAt = now();
  for (const each of [served, left, late]) hedging.sent(each);
  pass(5);
  hedging.responded(served);
  hedging.forget(left);
  pass(5000);
  expect(again.map(([name]) => name)).toEqual(["late"]);
  // To a fifth, as precisely as it is measured.
  const after = (again[0] as [string, number])[1] - sentAt;
  expect(after).toBeGreaterThanOrEqual(10);
  expect(after).toBeLessThan(13);
});

it("makes the oldest wait for a budget and for room, and then sends it first", () => {
  const { hedging, pass, request, serve, again } = poolOf();
  serve(200);
  let hasRoom = false;
  for (const name of ["a", "b", "c", "d", "e", "f"]) hedging.sent(request(name, () => hasRoom));
  pass(1000);
  expect(again).toEqual([]);
  hasRoom = true;
  hedging.earn(0, 0);
  // 2 % of 200.
  expect(again.map(([name]) => name)).toEqual(["a", "b", "c", "d"]);
  hedging.earn(50 + 4, 1);
  expect(again.map(([name]) => name)).toEqual(["a", "b", "c", "d", "e"]);
});

it("never sends more than 2 % of the requests twice, however many are late", () => {
  const seconds = fc.array(fc.record({ served: fc.nat({ max: 300 }), late: fc.nat({ max: 300 }) }), { maxLength: 20 });
  fc.assert(
    fc.property(seconds, (load) => {
      const { hedging, pass, request, serve, again } = poolOf();
      let sent = 0;
      for (const { served, late } of load) {
        for (let at = 0; at < late; at++) hedging.sent(request("late"));
        pass(500);
        const before = again.length;
        serve(served);
        hedging.earn(late + again.length - before, 0);
        sent += served + late;
        expect(again.length).toBeLessThanOrEqual(0.02 * sent);
      }
    }),
    { numRuns: 20 },
  );
});
