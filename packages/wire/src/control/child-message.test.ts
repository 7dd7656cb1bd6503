/** Messages of a child, valid and invalid. */
import { describe, expect, it } from "vitest";
import { parseChildMessage } from "./child-message.js";

const COUNTS = { requestsTotal: 1, errorsTotal: 0, inFlight: 0, periodMs: 1000, eventLoopLagMs: 0, heapBytes: 1 };
const instance = { type: "stats", role: "instance", ...COUNTS, latency: [1, 2] };
const upstream = { id: "web.1#1", inFlight: 0, requestsTotal: 1 };
const balancer = {
  ...{ type: "stats", role: "balancer", ...COUNTS, latency: [], connections: 0, connectionsTotal: 0, retriesTotal: 0 },
  upstreams: [
    upstream,
    { ...upstream, errorsTotal: 1, latency: [], running: "GET /", overdue: { request: "GET /", forMs: 1 } },
  ],
};

const judgedClass = { routeClass: 1, requests: 3, errors: 1, latency: [4, 3] };

describe("parseChildMessage", () => {
  it.each([
    instance,
    { ...instance, deferred: { jobs: 1, oldestMs: 2 } },
    balancer,
    {
      ...balancer,
      upstreams: [
        {
          ...upstream,
          judged: { lost: 1, classes: [judgedClass, { ...judgedClass, failed: [4, 1], abandoned: [9, 1] }] },
        },
      ],
    },
    { ...balancer, spoolBytes: 1, held: [{ pool: "web", receiving: 1, sending: 0 }] },
    { type: "applied", version: 1, leaving: ["web.1#1"], listening: true },
    { type: "applied", version: 1, leaving: [], busy: ["web.1#1"], listening: true },
    { type: "fault", message: "no", exit: { code: null, signal: "SIGTERM" } },
    { type: "probed", id: 1 },
    { type: "poison", pool: "web", request: "GET /", processes: ["web.1#1"] },
    { type: "dumped", id: 4, problem: "ENOSPC" },
    { type: "recorded", lost: 0, requests: [{ at: 1, method: "GET", path: "/", status: 200, bytes: 3, ms: 0.2 }] },
    {
      ...{ type: "lost", upstream: "web.1#1", omitted: 3 },
      requests: [{ id: "r-1", request: "GET /", ageMs: 5, state: "running", outcome: "failed" }],
    },
  ])("accepts %j", (message) => {
    expect(parseChildMessage(JSON.stringify(message))).toEqual(message);
  });

  it.each([
    "nonsense",
    "[]",
    "null",
    JSON.stringify({ type: 3 }),
    JSON.stringify({ ...instance, inFlight: -1 }),
    JSON.stringify({ ...instance, latency: {} }),
    JSON.stringify({ ...instance, deferred: { jobs: 1 } }),
    JSON.stringify({ ...balancer, upstreams: [{ ...upstream, running: 1 }] }),
    JSON.stringify({ ...balancer, upstreams: [{ ...upstream, judged: { classes: [] } }] }),
    ...[{ errors: "1" }, { failed: 3 }, { abandoned: 3 }].map((wrong) =>
      JSON.stringify({
        ...balancer,
        upstreams: [{ ...upstream, judged: { lost: 1, classes: [{ ...judgedClass, ...wrong }] } }],
      }),
    ),
    JSON.stringify({ ...balancer, held: [{ pool: "web" }] }),
    JSON.stringify({ type: "applied", version: 1, leaving: [] }),
    JSON.stringify({ type: "applied", version: 1, leaving: [], busy: "web.1#1", listening: true }),
    JSON.stringify({ type: "recorded", lost: 0, requests: [{ method: "GET", path: "/" }] }),
    JSON.stringify({ type: "fault", message: "no", exit: { code: "1", signal: null } }),
    JSON.stringify({ type: "poison", pool: "web", request: "GET /", processes: [1] }),
    JSON.stringify({ type: "lost", upstream: "web.1#1", omitted: 0, requests: [{ request: "GET /", ageMs: -1 }] }),
  ])("rejects %s", (line) => {
    expect(() => parseChildMessage(line)).toThrow(
      /^(it is not (an object|JSON: it has \d+ characters)|invalid message: its type is \w+)$/,
    );
  });

  it("accepts messages of a later version: unknown fields have no effect, and an unknown type is ignored", () => {
    const later = { ...instance, channelVersion: 2, newFigure: { a: 1 } };
    expect(parseChildMessage(JSON.stringify(later))).toMatchObject(instance);
    expect(parseChildMessage('{"type":"sings","loudly":true}')).toBeUndefined();
    expect(parseChildMessage('{"type":"toString"}')).toBeUndefined();
  });
});
