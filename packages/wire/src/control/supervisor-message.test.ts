/** Messages of a supervisor, valid and invalid. */
import { describe, expect, it } from "vitest";
import { BALANCER_LIMITS } from "../limits.js";
import type { Snapshot } from "./snapshot.js";
import { parseSupervisorMessage } from "./supervisor-message.js";

const snapshot: Snapshot = {
  type: "snapshot",
  version: 3,
  listen: [{ fd: 3, address: "127.0.0.1:8080" }],
  pools: [
    {
      name: "web",
      routes: ["/"],
      stripPrefix: true,
      judged: true,
      queueTimeoutMs: 100,
      priority: { high: ["/checkout/"], low: [] },
      sticky: { by: "cookie", name: "paceline_web" },
      upstreams: [
        { id: "web.1#1", name: "web.1", socket: "/run/web.1.sock", cookie: "1.abc", alsoCookie: "1.def", weight: 9 },
        { id: "web.1#2", name: "web.1", socket: "/run/web.1-2.sock", weight: 4, canary: true, outOfTurn: "drained" },
        { id: "web.2#1", name: "web.2", tcp: { host: "127.0.0.1", port: 4000 }, share: 50, backup: true },
      ],
    },
  ],
  trustedProxies: ["10.0.0.0/8"],
  spoolDir: "/run/spool",
  probes: { live: "/-/live", ready: "/-/ready" },
  rateLimits: [{ by: "header", name: "x-key", requests: 1, periodMs: 1000, burst: 2, routes: ["/"] }],
  stopping: true,
  limits: BALANCER_LIMITS,
};

describe("parseSupervisorMessage", () => {
  it.each([
    { type: "welcome" },
    { type: "refused", reason: "unknown token" },
    { type: "drain", deadlineMs: 0 },
    { type: "released" },
    { type: "dump", id: 1, what: "heap", path: "/run/a.dump", durationMs: 0 },
    snapshot,
  ])("accepts $type", (message) => {
    expect(parseSupervisorMessage(JSON.stringify(message))).toEqual(message);
  });

  it.each([
    ["{", /not JSON/],
    ["[]", /not an object/],
    ["null", /not an object/],
    ["{}", /no type/],
    ['{"type":"refused"}', /refused: no good reason/],
    ['{"type":"dump","id":1,"what":"all","path":"/a","durationMs":0}', /dump: no good what/],
    ['{"type":"drain","deadlineMs":-1}', /drain: no good deadlineMs/],
    [JSON.stringify({ ...snapshot, version: 0 }), /no good version/],
    [JSON.stringify({ ...snapshot, listen: [{ fd: "3" }] }), /no good listen/],
    [JSON.stringify({ ...snapshot, probes: { live: 1 } }), /no good probes/],
    [JSON.stringify({ ...snapshot, stopping: 1 }), /no good stopping/],
    ...[{ by: "luck" }, { by: "header" }, { requests: 0 }, { burst: -1 }, { routes: [1] }].map(
      (bad): [string, RegExp] => {
        const rule = { by: "address", requests: 1, periodMs: 1000, burst: 1, ...bad };
        return [JSON.stringify({ ...snapshot, rateLimits: [rule] }), /no good rateLimits/];
      },
    ),
    ...[{ queueTimeoutMs: "1" }, { priority: { high: ["/"] } }].map((bad): [string, RegExp] => [
      JSON.stringify({ ...snapshot, pools: [{ ...snapshot.pools[0], ...bad }] }),
      /no good pools/,
    ]),
    [JSON.stringify({ ...snapshot, pools: [{ name: "web", routes: [], upstreams: [{ id: 1 }] }] }), /no good pools/],
    [
      JSON.stringify({ ...snapshot, pools: [{ name: "a", routes: [], upstreams: [{ id: "a", name: "a" }] }] }),
      /no good pools/,
    ],
    [
      JSON.stringify({
        ...snapshot,
        pools: [{ name: "a", routes: [], upstreams: [{ id: "a", name: "a", socket: "/a", tcp: { host: 1 } }] }],
      }),
      /no good pools/,
    ],
    [JSON.stringify({ ...snapshot, pools: [{ ...snapshot.pools[0], stripPrefix: "yes" }] }), /no good pools/],
    [JSON.stringify({ ...snapshot, pools: [{ ...snapshot.pools[0], sticky: { by: "header" } }] }), /no good pools/],
    [JSON.stringify({ ...snapshot, pools: [{ ...snapshot.pools[0], sticky: { by: "luck" } }] }), /no good pools/],
    ...[
      ...[{ weight: 0 }, { weight: 1.5 }, { canary: 1 }, { alsoCookie: 1 }],
      ...[{ share: 0 }, { share: 1001 }, { backup: 1 }, { outOfTurn: "tired" }],
    ].map((bad): [string, RegExp] => [
      JSON.stringify({
        ...snapshot,
        pools: [{ ...snapshot.pools[0], upstreams: [{ ...snapshot.pools[0]?.upstreams[0], ...bad }] }],
      }),
      /no good pools/,
    ]),
    [JSON.stringify({ ...snapshot, pools: [{ ...snapshot.pools[0], judged: "yes" }] }), /no good pools/],
    [JSON.stringify({ ...snapshot, limits: { ...snapshot.limits, maxQueue: "many" } }), /no good limits\.maxQueue/],
  ])("rejects %s", (line, message) => {
    expect(() => parseSupervisorMessage(line)).toThrow(message);
    expect(() => parseSupervisorMessage(line)).toThrow(expect.objectContaining({ code: "bad-message" }));
  });

  it("accepts messages of neighbouring versions: unknown fields have no effect, and a missing limit has its default", () => {
    expect(parseSupervisorMessage('{"type":"reboot","when":1}')).toBeUndefined();
    const pool = { ...snapshot.pools[0], mood: "good" };
    const { maxQueue: _, ...fewer } = snapshot.limits;
    const message = { ...snapshot, pools: [pool], limits: { ...fewer, maxMood: 1 }, mood: 1 };
    expect(parseSupervisorMessage(JSON.stringify(message))).toMatchObject({
      ...snapshot,
      limits: { maxQueue: BALANCER_LIMITS.maxQueue },
    });
  });
});
