/**
 * What an instance's latency is (from sending the head of a request to the head of its response), and how a response that is cut off is
 * counted.
 */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Peer } from "../http1/forwarded.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { DownstreamResponse } from "./downstream.js";
import { type Cut, Outcome } from "./outcome.js";
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
      ...{ countResponse: () => {}, responded: () => {} },
    }) as unknown as Upstream;
  const relay = { accessLog: undefined, counters: { inFlight: 0, countResponse: () => {} } } as unknown as Relay;
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

it("a request that is sent again has no response until one comes from there", () => {
  const relay = { counters: { inFlight: 0 } } as unknown as Relay;
  const took: number[] = [];
  const upstream = { responded: (micros: number) => took.push(micros) } as unknown as Upstream;
  const outcome = new Outcome(relay, {} as SavedHead, {} as Peer);
  outcome.begin();
  const seen = [1500, 2500].flatMap((handlerMicros) => {
    outcome.found(upstream);
    const before = outcome.hasResponded;
    outcome.responded({ status: 200, handlerMicros } as ResponseHead);
    return [before, outcome.hasResponded];
  });
  expect([seen, took]).toEqual([
    [false, true, false, true],
    [1500, 2500],
  ]);
});

describe("a response that is cut off counts by who is at fault", () => {
  /**
   * What the access log says, and what counts for the fleet and for the instance. If nothing was sent yet, the balancer generates a 502
   * itself.
   */
  it.each<[Cut, boolean, string, number[], string[]]>([
    ["client-late", false, "client-late 200", [200], ["cut 200"]],
    ["client-late", true, "client-late 499", [], ["abandoned"]],
    ["no-room", false, "no-room 200", [200], ["cut 200"]],
    ["no-room", true, "no-room 503", [503], ["abandoned"]],
    ["refused", false, "refused 200", [200], ["cut 200"]],
    ["refused", true, "refused 499", [], ["abandoned"]],
    ["idle", false, "whole 200", [200], ["cut 200"]],
    ["instance-late", false, "instance-late 502", [502], ["502"]],
    ["instance-late", true, "instance-late 502", [502], ["502"]],
    ["instance-lost", false, "instance-lost 502", [502], ["502"]],
    ["balancer", false, "refused 502", [502], ["cut 200"]],
    ["balancer", true, "refused 502", [502], ["cut 200"]],
  ])("%s, nothing sent: %s", (cut, isWithdrawn, logged, ofFleet, ofInstance) => {
    const [lines, fleet, instance] = [[] as string[], [] as number[], [] as string[]];
    const relay = {
      accessLog: {
        request: (...[, , { outcome, status }]: [unknown, unknown, Outcome]) => lines.push(`${outcome} ${status}`),
      },
      counters: { inFlight: 0, countResponse: (status: number) => fleet.push(status) },
    } as unknown as Relay;
    const upstream = {
      ...{ responded: () => {}, countResponse: (status: number) => instance.push(`${status}`) },
      ...{ cutOff: (status: number) => instance.push(`cut ${status}`), abandoned: () => instance.push("abandoned") },
    } as unknown as Upstream;
    const outcome = new Outcome(relay, {} as SavedHead, {} as Peer);
    outcome.begin();
    outcome.found(upstream);
    outcome.responded({ status: 200 } as ResponseHead);
    const status = outcome.cut(cut, upstream, isWithdrawn, false);
    outcome.end(status === 502 ? 0 : status, upstream, undefined, "response");
    expect([lines, fleet, instance]).toEqual([[logged], ofFleet, ofInstance]);
  });
});

it("an error of the balancer itself counts as one, and a response of an instance or a program does not", () => {
  let failed = 0;
  const routeCounts = { failed: () => failed++ };
  const relay = { counters: { inFlight: 0, countResponse: () => {} } } as unknown as Relay;
  const response = { localBodyBytes: () => 0 } as unknown as DownstreamResponse;
  const outcome = new Outcome(relay, { routeCounts, isRead: true } as unknown as SavedHead, {} as Peer);
  const upstream = (isForeign: boolean) =>
    ({ isForeign, countResponse: () => {}, responded: () => {} }) as unknown as Upstream;
  const counted = (request: () => Upstream | undefined) => {
    failed = 0;
    outcome.begin();
    const last = request();
    outcome.end(0, last, undefined, "response");
    return failed;
  };
  const local = (status: 404 | 502 | 503 | 504, of?: Upstream) => {
    if (of !== undefined) outcome.found(of);
    outcome.local(status, response, undefined);
  };
  const app = (status: number) => {
    const of = outcome.found(upstream(false));
    outcome.responded({ status } as ResponseHead);
    return of;
  };
  const cases: Record<string, () => Upstream | undefined> = {
    "500 of an app": () => app(500),
    "no instance": () => void local(503),
    "a crash": () => void local(502, upstream(false)),
    "a late instance": () => {
      const of = upstream(false);
      local(504, of);
      return of;
    },
    "a late program": () => {
      const of = upstream(true);
      local(504, of);
      return of;
    },
    "no file": () => void local(404),
    "a response taken back": () => {
      const of = app(200);
      outcome.local(502, response, undefined);
      return of;
    },
  };
  expect(Object.entries(cases).map(([name, request]) => `${name}: ${counted(request)}`)).toEqual([
    "500 of an app: 0",
    "no instance: 1",
    "a crash: 1",
    "a late instance: 1",
    "a late program: 0",
    "no file: 0",
    "a response taken back: 0",
  ]);
});
