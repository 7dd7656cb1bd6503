import { expect, it } from "vitest";
import { FreeLoops } from "./free-loops.js";

/** An upstream with this many requests; counts the checks of its event loop. */
function upstreamWith(inFlight: number, isRunning: boolean, ofOthers = 0) {
  const upstream = {
    ...{ inFlight, pickedAtMs: Number.NEGATIVE_INFINITY, returnedAtMs: Number.NEGATIVE_INFINITY, looks: 0 },
    get load(): number {
      return upstream.inFlight + ofOthers;
    },
    get isLoopRunning(): boolean {
      upstream.looks++;
      return isRunning;
    },
  };
  return upstream;
}

it.each([
  ["free without requests, without a look", 0, true, false, [true, 0]],
  ["perhaps at work for another balancer", 0, true, true, [false, 1]],
  ["not at work for another balancer", 0, false, true, [true, 1]],
  ["free if its requests wait for something", 2, false, false, [true, 1]],
  ["not free while it computes", 1, true, false, [false, 1]],
])("an upstream is %s", (_, inFlight, isRunning, isShared, expected) => {
  const loops = new FreeLoops();
  const upstream = upstreamWith(inFlight, isRunning);
  loops.begin(0, isShared);
  expect([loops.isFree(upstream), upstream.looks]).toEqual(expected);
});

it("an upstream with known requests of other balancers is checked", () => {
  const loops = new FreeLoops();
  const upstream = upstreamWith(0, true, 1);
  loops.begin(0, false);
  expect([loops.isFree(upstream), upstream.looks]).toEqual([false, 1]);
});

it("an upstream that was just picked is about to run", () => {
  const loops = new FreeLoops();
  const upstream = upstreamWith(0, false);
  loops.begin(1000, false);
  loops.picked(upstream);
  expect(loops.isFree(upstream)).toBe(true);
  upstream.inFlight = 1;
  const isFreeAt = (nowMs: number) => {
    loops.begin(nowMs, false);
    return loops.isFree(upstream);
  };
  expect([1000, 1000.9, 1001].map(isFreeAt)).toEqual([false, false, true]);
});

it("an upstream that has just said that a handler has returned is not checked: it still runs for a moment", () => {
  const loops = new FreeLoops();
  const upstream = upstreamWith(1, true);
  upstream.returnedAtMs = 1000;
  const isFreeAt = (nowMs: number) => {
    loops.begin(nowMs, false);
    return loops.isFree(upstream);
  };
  expect([1000, 1000.9, 1001].map(isFreeAt)).toEqual([true, true, false]);
  expect(upstream.looks).toBe(1);
});

it("checks four upstreams for one pick, and picks another one without a check", () => {
  const loops = new FreeLoops();
  const upstreams = Array.from({ length: 6 }, () => upstreamWith(1, true));
  for (let pick = 0; pick < 2; pick++) {
    loops.begin(0, false);
    expect(upstreams.map((upstream) => loops.isFree(upstream))).toEqual([false, false, false, false, true, true]);
  }
});
