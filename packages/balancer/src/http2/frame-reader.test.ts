/** The frames are the same however their bytes are split, and wherever the reader has to stop. */
import { describe, expect, it } from "vitest";
import { data, frame, GET, headers, POST, settings, windowUpdate } from "../../test/support/http2-frames.js";
import { FrameReader, type FrameSink } from "./frame-reader.js";
import { ErrorCode, FrameType } from "./protocol.js";

/** Joins the pieces of a DATA frame, and stops after every few calls. */
class Sink implements FrameSink {
  events: string[] = [];
  private calls = 0;
  private isInData = false;

  constructor(private readonly stopEvery: number) {}

  private get goesOn(): boolean {
    return ++this.calls % this.stopEvery !== 0;
  }

  onFrame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    this.isInData = false;
    this.events.push(`${type} ${flags} ${stream} ${bytes.toString("hex", start, end)}`);
    return this.goesOn;
  }

  onDataStart(stream: number, bytes: number): boolean {
    this.isInData = true;
    this.events.push(`DATA ${stream} ${bytes}: `);
    return this.goesOn;
  }

  onData(stream: number, bytes: Buffer, start: number, end: number, padding: number, isLast: boolean): boolean {
    expect(this.isInData).toBe(true);
    const last = `${this.events.pop()}${bytes.toString("latin1", start, end)}`;
    this.events.push(`${last}${padding > 0 ? `<${padding}>` : ""}${isLast ? `. end of ${stream}` : ""}`);
    return this.goesOn;
  }
}

const BYTES = Buffer.concat([
  settings([3, 100]),
  headers(1, POST, false),
  data(1, "abc"),
  frame(FrameType.DATA, 8, 1, "\x02de\0\0"),
  data(1, ""),
  frame(FrameType.DATA, 8, 1, "\x03\0\0\0"),
  windowUpdate(0, 7),
  frame(FrameType.DATA, 9, 1, "\x00f"),
  headers(3, GET),
  frame(FrameType.SETTINGS, 1, 0),
  frame(99, 0, 5, "x".repeat(700)),
  data(5, "", true),
  frame(FrameType.DATA, 9, 7, "\x01\0"),
]);

function read(pieces: Buffer[], stopEvery: number): string[] {
  const reader = new FrameReader();
  const sink = new Sink(stopEvery);
  for (const piece of pieces) {
    expect(reader.read(piece, sink)).toBe(true);
    // Sometimes more bytes arrive before it continues.
    if (piece.length % 2 === 0) continue;
    while (reader.isWaiting) expect(reader.readOn(sink)).toBe(true);
  }
  while (reader.isWaiting) expect(reader.readOn(sink)).toBe(true);
  expect(reader.isPartial).toBe(false);
  return sink.events;
}

describe("a client's frames", () => {
  const whole = read([BYTES], Number.POSITIVE_INFINITY);

  it("are what was sent", () => {
    expect(whole.map((event) => event.slice(0, 24))).toEqual([
      "4 0 0 000300000064",
      expect.stringMatching(/^1 4 1 /),
      "DATA 1 3: abc",
      "DATA 1 5: <3>de",
      "DATA 1 0: ",
      "DATA 1 4: <4>",
      "8 0 0 00000007",
      "DATA 1 2: <1>f. end of 1",
      expect.stringMatching(/^1 5 3 /),
      "4 1 0 ",
      expect.stringMatching(/^99 0 5 7878/),
      "DATA 5 0: . end of 5",
      "DATA 7 2: <2>. end of 7",
    ]);
  });

  it.each([1, 2, 3, 7, 1000])("are the same, split anywhere, with a stop after every %d", (stopEvery) => {
    let seed = 3;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return seed % below;
    };
    for (let size = 1; size < 60; size += 6) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < BYTES.length; ) {
        const length = size < 12 ? size : 1 + random(size);
        pieces.push(Buffer.from(BYTES.subarray(at, at + length)));
        at += length;
      }
      expect(read(pieces, stopEvery)).toEqual(whole);
    }
  });

  it("are kept while they wait, even if they follow the preface in the same read", () => {
    const reader = new FrameReader();
    const bytes = Buffer.from(BYTES);
    reader.read(bytes.subarray(0), new Sink(1));
    expect([reader.isWaiting, reader.holds(bytes), reader.holds(Buffer.alloc(9000))]).toEqual([true, true, false]);
  });

  it.each([
    ["too large", frame(FrameType.HEADERS, 4, 1, Buffer.alloc(16_385)), ErrorCode.FRAME_SIZE_ERROR],
    ["DATA of no stream", data(0, "x"), ErrorCode.PROTOCOL_ERROR],
    ["with more padding than bytes", frame(FrameType.DATA, 8, 1, "\x05x"), ErrorCode.PROTOCOL_ERROR],
    ["padded without bytes", frame(FrameType.DATA, 8, 1, ""), ErrorCode.FRAME_SIZE_ERROR],
  ])("that are %s end the reading, in one piece or byte by byte", (_, bytes, error) => {
    for (const size of [1, bytes.length]) {
      const reader = new FrameReader();
      const sink = new Sink(1000);
      let isFine = true;
      for (let at = 0; at < bytes.length && isFine; at += size)
        isFine = reader.read(Buffer.from(bytes.subarray(at, at + size)), sink);
      expect([isFine, reader.error]).toEqual([false, error]);
    }
  });
});
