/** Both writers of requests apply the same policy, for any client. */
import { HOP_BY_HOP_FIELDS } from "@paceline/wire";
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { LaneRequestHead } from "@paceline/wire/lane/request-head";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { requestHead } from "../../test/support/lane-bench.js";
import { putRequest } from "../upstream-lane/request-encoder.js";
import { FieldKind } from "./field-table.js";
import { passes, responseFieldsThatPass } from "./forward-policy.js";
import { ForwardedFields } from "./forwarded.js";
import { HeadWriter } from "./head-writer.js";

type Pairs = [string, string][];

/** The fields that each protocol sends, with lower-case names, in order. */
function sent(text: string, forwarded: ForwardedFields, isTrusted: boolean): { http1: Pairs; lane: Pairs } {
  const connection = new FakeConnection();
  const writer = new HeadWriter(65_536, { now: 0 });
  const head = requestHead(text);
  head.prefix = Buffer.from("/app");
  writer.request(connection, head, forwarded, isTrusted);
  writer.flush(connection);
  const lines = connection.take().toString("latin1").split("\r\n").slice(1, -2);
  const http1 = lines.map((line): [string, string] => {
    const colon = line.indexOf(": ");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 2)];
  });
  const frames = new FrameBuffer();
  putRequest(frames, 1, head, forwarded, isTrusted);
  return { http1, lane: new LaneRequestHead(frames.take().toString("latin1", 8)).pairs() };
}

/** HTTP/1.1 writes the framing fields and TE again, after the other fields; over the lane, Content-Length keeps its place. */
const FRAMING = ["content-length", "transfer-encoding", "te"];
const unframed = (pairs: Pairs) =>
  pairs.filter(([name, value]) => !FRAMING.includes(name) && !(name === "connection" && value === "TE"));

const FIELDS = [
  ...["Accept: a", "X-Two: 1", "x-two: 2", "Cookie: c=1", "Date: now", "TE: trailers", "Trailer: x", "Keep-Alive: 5"],
  ...["Proxy-Authorization: p", "Proxy-Connection: k", "X-Forwarded-For: 1.1.1.1", "X_Forwarded_For: 2.2.2.2"],
  ...["X-Forwarded-Port: 8", "Forwarded: for=3.3.3.3", "X-Real-IP: 4.4.4.4", "X-Real_IP: 5.5.5.5", "Script-Name: s"],
  ...[
    "Proxy: http://evil",
    "Expect: 100-continue",
    "Content_Length: 3",
    "Connection: X-Two, Accept",
    "Connection: close",
  ],
];
const anyFields = fc.shuffledSubarray(FIELDS);
const framing = fc.constantFrom(
  [],
  ["Content-Length: 3"],
  ["Transfer-Encoding: chunked"],
  ["Connection: Upgrade", "Upgrade: websocket"],
);

describe("fields that are forwarded upstream", () => {
  it("are the same over HTTP/1.1 and the lane, in the same order", () => {
    fc.assert(
      fc.property(anyFields, framing, fc.boolean(), fc.boolean(), (fields, framed, isTrusted, isReported) => {
        const text = ["POST /p HTTP/1.1", "Host: a", ...fields, ...framed, "", ""].join("\r\n");
        const forwarded = new ForwardedFields([["X-Forwarded-For", "10.0.0.7"]], isReported);
        const { http1, lane } = sent(text, forwarded, isTrusted);
        expect(unframed(http1)).toEqual(unframed(lane));
        const te = (pairs: Pairs) => pairs.filter(([name]) => name === "te");
        expect(te(lane)).toEqual(te(http1));
        expect(lane.filter(([name]) => name === "transfer-encoding")).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it("are not hop-by-hop, and identify the client only if the peer is trusted", () => {
    const text = `POST /p HTTP/1.1\r\nHost: a\r\n${FIELDS.join("\r\n")}\r\n\r\n`;
    for (const isTrusted of [false, true]) {
      const { http1 } = sent(text, new ForwardedFields([["X-Forwarded-For", "10.0.0.7"]]), isTrusted);
      const claims = isTrusted ? ["x-forwarded-port", "x-real-ip"] : [];
      expect(http1.map(([name]) => name)).toEqual([
        ...["host", "cookie", "date", ...claims, "expect"],
        ...["x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "te", "connection"],
      ]);
      expect(http1.filter(([name]) => name === "x-forwarded-for")).toEqual([["x-forwarded-for", "10.0.0.7"]]);
    }
  });
});

it("forwards a response's fields except hop-by-hop ones; Upgrade only with 101 and 426", () => {
  for (const status of [101, 200, 304, 426, 502]) {
    const kinds = responseFieldsThatPass(status);
    const passing = Object.entries(FieldKind).flatMap(([name, kind]) => (passes(kinds, kind) ? [name] : []));
    const dropped = ["HOP", "TE", "CONNECTION", "CONTENT_LENGTH", "TRANSFER_ENCODING"];
    if (status !== 101 && status !== 426) dropped.push("UPGRADE");
    expect(passing).toEqual(Object.keys(FieldKind).filter((name) => !dropped.includes(name)));
  }
});

it("knows every hop-by-hop field", () => {
  const text = HOP_BY_HOP_FIELDS.filter((name) => name !== "transfer-encoding").map((name) => `${name}: x`);
  const { fields } = requestHead(`GET / HTTP/1.1\r\nHost: a\r\n${text.join("\r\n")}\r\n\r\n`);
  const kinds = Array.from({ length: fields.count }, (_, i) => fields.kinds[i]);
  expect(kinds.filter((kind) => kind === FieldKind.ORDINARY)).toEqual([]);
});
