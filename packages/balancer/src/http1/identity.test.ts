/** Who names a request: ids and traces are generated, or kept from clients that may set them, and both writers send the same. */
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { LaneRequestHead } from "@paceline/wire/lane/request-head";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { requestHead } from "../../test/support/lane-bench.js";
import { putRequest } from "../upstream-lane/request-encoder.js";
import { ForwardedFields } from "./forwarded.js";
import { HeadWriter } from "./head-writer.js";
import { Identity, IdentitySource, isRequestId, isTraceparent } from "./identity.js";

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]$/;
const KEPT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Rules = ConstructorParameters<typeof IdentitySource>[0]["rules"];
const ALL: Rules = { ids: true, inResponse: false, trace: { keep: "trusted", sampled: 1 } };

function source(rules: Rules, random: () => number = Math.random): IdentitySource {
  return new IdentitySource({ rules, clock: { now: 0 }, date: () => 1_700_000_000_123, random });
}

/** Returns the identity fields that an upstream gets with each protocol, in order, and the request's name in the log. */
function identified(fields: string, isTrusted: boolean, rules: Rules) {
  const head = requestHead(`GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
  const identity = new Identity(source(rules));
  identity.begin(head, isTrusted);
  const connection = new FakeConnection();
  const writer = new HeadWriter(65_536, { now: 0 });
  writer.request(connection, head, new ForwardedFields([]), isTrusted);
  writer.flush(connection);
  const lines = connection.take().toString("latin1").split("\r\n").slice(1, -2);
  const frames = new FrameBuffer();
  putRequest(frames, 1, head, new ForwardedFields([]), isTrusted);
  const lane = new LaneRequestHead(frames.take().toString("latin1", 8)).pairs();
  const isOurs = (name: string) => /^(x.request.id|trace.*)$/.test(name);
  const http1 = lines.map((line) => [
    line.slice(0, line.indexOf(": ")).toLowerCase(),
    line.slice(line.indexOf(": ") + 2),
  ]);
  const sent = http1.filter(([name = ""]) => isOurs(name));
  expect(lane.filter(([name]) => isOurs(name))).toEqual(sent);
  return { sent, id: identity.requestId, traceId: identity.traceId };
}

const made = (name: string) => [name, expect.stringMatching(name === "traceparent" ? TRACEPARENT : UUID7)];
const id = "x-request-id";

describe("the identity of a request", () => {
  it.each<[string, string, boolean, Rules, unknown[]]>([
    ["is made", "", false, ALL, [made(id), made("traceparent")]],
    ["is made for a trusted proxy that has none", "", true, ALL, [made(id), made("traceparent")]],
    [
      "is not a stranger's",
      `X-Request-Id: a\r\ntraceparent: ${KEPT}\r\ntracestate: a=1\r\n`,
      false,
      ALL,
      [made(id), made("traceparent")],
    ],
    [
      "is a trusted proxy's",
      `X-Request-Id: a-1\r\ntraceparent: ${KEPT}\r\ntracestate: a=1\r\n`,
      true,
      ALL,
      [
        [id, "a-1"],
        ["traceparent", KEPT],
        ["tracestate", "a=1"],
      ],
    ],
    [
      "is no text that needs escapes",
      `X-Request-Id: a"b\r\ntraceparent: ${KEPT}x\r\ntracestate: a=1\r\n`,
      true,
      ALL,
      [made(id), made("traceparent")],
    ],
    [
      "is not said twice",
      `X-Request-Id: a\r\nX-Request-Id: b\r\ntraceparent: ${KEPT}\r\ntraceparent: ${KEPT}\r\ntracestate: b=2\r\n`,
      true,
      ALL,
      [made(id), made("traceparent")],
    ],
    ["has one spelling", "X_Request_Id: a\r\nX-Request_Id: b\r\n", true, ALL, [made(id), made("traceparent")]],
    [
      "can be any client's trace",
      `traceparent: ${KEPT}\r\ntracestate: a=1\r\n`,
      false,
      { ...ALL, trace: { keep: "always", sampled: 1 } },
      [["traceparent", KEPT], ["tracestate", "a=1"], made(id)],
    ],
    ["can be a trace alone", "X-Request-Id: a\r\n", false, { ...ALL, ids: false }, [[id, "a"], made("traceparent")]],
    [
      "can be an id alone",
      `traceparent: x\r\ntracestate: a=1\r\n`,
      false,
      { ids: true, inResponse: false },
      [["traceparent", "x"], ["tracestate", "a=1"], made(id)],
    ],
    ["cannot be taken away", "Connection: x-request-id, traceparent\r\n", false, ALL, [made(id), made("traceparent")]],
  ])("%s", (_, fields, isTrusted, rules, expected) => {
    const { sent, id: logged, traceId } = identified(fields, isTrusted, rules);
    expect(sent).toEqual(expected);
    if (rules.ids) expect(logged).toBe(sent.find(([name]) => name === id)?.[1]);
    if (rules.trace) expect(traceId).toBe(sent.find(([name]) => name === "traceparent")?.[1]?.slice(3, 35));
  });

  it("differs for each request, in order and with the time, even when the counter overflows", () => {
    const bytes = new Uint8Array(36);
    const text = () => Buffer.from(bytes).toString("latin1");
    // All hexadecimal digits are f, also those of the counter.
    const full = source(ALL, () => 0.999);
    full.putId(bytes);
    expect(text()).toBe("018bcfe5-687b-7fff-bfff-ffff00000000");
    const some = source(ALL, () => 0.5);
    const ids = Array.from({ length: 5000 }, () => {
      some.putId(bytes);
      return text();
    });
    expect(new Set(ids).size).toBe(5000);
    expect([...ids].sort()).toEqual(ids);
    for (const each of ids) expect(each).toMatch(UUID7);
  });

  it("marks an evenly spread share of its traces as sampled", () => {
    const quarter = source({ ...ALL, trace: { keep: "trusted", sampled: 0.25 } });
    const bytes = new Uint8Array(55);
    const traces = Array.from({ length: 1000 }, () => {
      quarter.putTraceparent(bytes);
      return Buffer.from(bytes).toString("latin1");
    });
    for (const trace of traces) expect(trace).toMatch(TRACEPARENT);
    expect(new Set(traces).size).toBe(1000);
    expect(traces.filter((trace) => trace.endsWith("-01"))).toHaveLength(250);
  });

  it("has only valid traces, also of zeros", () => {
    const bytes = new Uint8Array(55);
    source(ALL, () => 0).putTraceparent(bytes);
    expect(isTraceparent(bytes, 0, 55)).toBe(true);
  });
});

it.each<[string, boolean]>([
  [KEPT, true],
  [KEPT.replace("00-", "01-"), true],
  [`${KEPT.replace("00-", "01-")}-more`, true],
  [`${KEPT.replace("00-", "01-")}more`, false],
  [`${KEPT}-more`, false],
  [KEPT.replace("00-", "ff-"), false],
  [KEPT.toUpperCase(), false],
  [KEPT.slice(1), false],
  [`00-${"0".repeat(32)}-b7ad6b7169203331-01`, false],
  [`00-0af7651916cd43dd8448eb211c80319c-${"0".repeat(16)}-01`, false],
  ["", false],
])("traceparent %s is valid: %s", (text, isValid) => {
  const bytes = Buffer.from(`..${text}..`);
  expect(isTraceparent(bytes, 2, 2 + text.length)).toBe(isValid);
});

it("keeps only ids that need no escapes in a log, a shell or a page", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary-ascii", maxLength: 140 }), (text) => {
      const bytes = Buffer.from(text, "latin1");
      expect(isRequestId(bytes, 0, bytes.length)).toBe(/^[A-Za-z0-9_.~+/=:@-]{1,128}$/.test(text) && !/\n/.test(text));
    }),
  );
  for (const [length, isValid] of [
    [1, true],
    [128, true],
    [129, false],
  ] as const)
    expect(isRequestId(Buffer.alloc(length, "a"), 0, length)).toBe(isValid);
});
