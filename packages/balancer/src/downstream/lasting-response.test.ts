/** Where a long-lasting response can end: only between two frames or events, however its bytes are split. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ResponseHead } from "../http1/response-head.js";
import { EventLines, type LastingResponse, lastingResponse, WebSocketFrames } from "./lasting-response.js";

/** A frame with a payload of `size` bytes. */
function frame(size: number, isMasked: boolean): Buffer {
  const mask = isMasked ? 0x80 : 0;
  const head = size < 126 ? [0x82, size | mask] : size < 65_536 ? [0x82, 126 | mask, size >> 8, size & 255] : undefined;
  const start = Buffer.from(head ?? [0x82, 127 | mask, 0, 0, 0, 0, 0, size >> 16, (size >> 8) & 255, size & 255]);
  return Buffer.concat([start, Buffer.alloc(isMasked ? 4 : 0, 0x88), Buffer.alloc(size, 0x88)]);
}

/** Returns the offsets at which the response is between two frames or events, if the bytes arrive in pieces of these sizes. */
function ends(response: LastingResponse, bytes: Buffer, sizes: readonly number[]): number[] {
  const found: number[] = [];
  for (let at = 0, piece = 0; at < bytes.length; piece++) {
    const next = Math.min(bytes.length, at + (sizes[piece % sizes.length] as number));
    response.pass(bytes, at, next);
    if (response.isBetween) found.push(next);
    at = next;
  }
  return found;
}

const size = fc.oneof(fc.nat(200), fc.constantFrom(0, 125, 126, 127, 65_535, 65_536, 70_000));
const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 70_000 })), { minLength: 1 });

describe("a WebSocket", () => {
  it("can end after each frame, and at no other place", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(size, fc.boolean()), { maxLength: 5 }), sizes, (frames, pieces) => {
        const all = frames.map(([length, isMasked]) => frame(length, isMasked));
        const bytes = Buffer.concat(all);
        const boundaries = new Set(
          all.map((_, at) => all.slice(0, at + 1).reduce((sum, { length }) => sum + length, 0)),
        );
        const stops = new Set(pieces.length === 0 ? [] : ends(new WebSocketFrames(), bytes, pieces));
        for (const at of stops) expect(boundaries).toContain(at);
        if (bytes.length > 0) expect(stops).toContain(bytes.length);
        if (bytes.length < 2000) expect(ends(new WebSocketFrames(), bytes, [1])).toEqual([...boundaries]);
      }),
    );
    expect(new WebSocketFrames().isBetween).toBe(true);
    expect([...new WebSocketFrames().lastBytes]).toEqual([0x88, 2, 0x03, 0xf4]);
  });
});

describe("an event stream", () => {
  it.each([
    ["", [0]],
    ["data: 1\n\ndata: 2\n\n", [9, 18]],
    ["data: 1\ndata: 2\n\n", [17]],
    ["data: 1\r\n\r\ndata: 2\r\r", [10, 11, 20]],
    [": comment\n\n\nid: 1\n", [11, 12]],
    ["data: 1\n", []],
    ["data: 1\r\n", []],
    ["data: 1\r\ndata: \n\r\n", [17, 18]],
  ])("%j can end after %j bytes", (text, expected) => {
    const stream = new EventLines(0);
    const bytes = Buffer.from(text);
    const found = bytes.length === 0 && stream.isBetween ? [0] : ends(stream, bytes, [1]);
    expect(found).toEqual(expected);
    expect(ends(new EventLines(0), bytes, [1000]).length > 0).toBe(bytes.length > 0 && expected.includes(bytes.length));
  });

  it("tells its client when to reconnect, or nothing", () => {
    expect(Buffer.from(new EventLines(1500).lastBytes).toString()).toBe("retry: 1500\n\n");
    expect(new EventLines(0).lastBytes).toHaveLength(0);
  });
});

it.each<[string, unknown]>([
  ["101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n", WebSocketFrames],
  ["101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n", undefined],
  ["200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n", EventLines],
  ["200 OK\r\nContent-Type: Text/Event-Stream\r\n", EventLines],
  ["200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n", undefined],
  ["200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n", undefined],
  ["200 OK\r\nContent-Type: text/event-streams\r\n", undefined],
  ["200 OK\r\nContent-Type: text/html\r\n", undefined],
])("a response %j can end early: %s", (text, kind) => {
  const head = new ResponseHead();
  const bytes = Buffer.from(`HTTP/1.1 ${text}\r\n`);
  expect(head.parse(bytes, 0, bytes.length, false)).toBe(bytes.length);
  expect(lastingResponse(head, 1000)?.constructor).toBe(kind);
});

it("an event stream that the balancer itself compresses can end early", () => {
  const head = new ResponseHead();
  const bytes = Buffer.from("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\r\n");
  head.parse(bytes, 0, bytes.length, false);
  expect(lastingResponse(head, 1000, true)).toBeInstanceOf(EventLines);
});
