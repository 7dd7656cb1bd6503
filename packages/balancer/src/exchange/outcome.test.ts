/** What an instance's latency is: from sending the head of a request to the head of its response. */
import { afterEach, expect, it, vi } from "vitest";
import type { Peer } from "../http1/forwarded.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Upstream } from "../upstreams/upstream.js";
import { Outcome } from "./outcome.js";
import type { Relay } from "./relay.js";
import type { SavedHead } from "./saved-head.js";

afterEach(() => void vi.restoreAllMocks());

it("neither the wait for an instance nor the body counts, and nothing is measured for a policy that does not need it", () => {
  let now = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  const observed: [number, boolean][] = [];
  const upstream = (isMeasured: boolean) =>
    ({
      requestsTotal: 0,
      latency: isMeasured ? { observe: (ms: number, isGood: boolean) => observed.push([ms, isGood]) } : undefined,
      ...{ answered: () => {}, pace: { add: () => {} } },
    }) as unknown as Upstream;
  const relay = { accessLog: undefined, counters: { inFlight: 0, answered: () => {} } } as unknown as Relay;
  const outcome = new Outcome(relay, {} as SavedHead, {} as Peer);
  for (const [isMeasured, status] of [
    [true, 200],
    [true, 503],
    [false, 200],
  ] as const) {
    const one = upstream(isMeasured);
    outcome.begin();
    now += 1000;
    outcome.found(one);
    outcome.sent(one);
    now += 30;
    outcome.responded({ status } as ResponseHead);
    now += 5000;
    outcome.count(one);
  }
  expect(observed).toEqual([
    [30, true],
    [30, false],
  ]);
});
