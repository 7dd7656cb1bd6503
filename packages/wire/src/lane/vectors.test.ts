/** The codec compared with frames written by hand from docs/lane.md. */
import { describe, expect, it } from "vitest";
import { type FrameVector, VECTORS, vector } from "../../test/support/lane-vectors.js";
import { FrameBuffer } from "./frame-buffer.js";
import { FrameDecoder } from "./frame-decoder.js";
import { putHello, readHello } from "./hello.js";
import { FrameType, readUint32 } from "./protocol.js";
import { LaneRequestHead } from "./request-head.js";
import { fieldLinesOf, putResponse, ResponseStart } from "./response-head.js";

const bytesOf = (hex: string) => Buffer.from(hex, "hex");
const of = (type: string) => VECTORS.frames.filter((frame) => frame.type === type);
const typeOf = ({ type }: FrameVector) => FrameType[type as keyof typeof FrameType];

/** Builds the frame again from the vector's description. */
function encode(frame: FrameVector): string {
  const { from, stream, text, number, byte, window, streams, status, reason = "", flags = 0, length = 0 } = frame;
  const { requests, micros, pid, maxData, takesTrailers = false } = frame;
  const frames = new FrameBuffer();
  const type = typeOf(frame);
  const isLast = (flags & 1) !== 0;
  if (window !== undefined)
    putHello(
      frames,
      { window, maxStreams: streams as number, number: 3, pid, maxDataBytes: maxData, takesTrailers },
      from === "instance",
    );
  else if (status !== undefined) {
    const fields = fieldLinesOf(frame.fields as [string, string][]).text;
    putResponse(frames, stream, { status, reason, fields, micros: 0 }, (flags & 2) === 0 ? -1 : length, isLast);
  } else if (micros !== undefined) frames.numbers(type, stream, requests as number, micros);
  else if (number !== undefined) frames.number(type, stream, number);
  else if (byte !== undefined) frames.byte(type, stream, byte);
  else if (text !== undefined) frames.copy(type, stream, Buffer.from(text), 0, Buffer.byteLength(text));
  else frames.empty(type, stream);
  return frames.take().toString("hex");
}

describe("the lane's codec", () => {
  // A REQUEST is built from the balancer's HTTP/1.1 head.
  it.each(VECTORS.frames.filter(({ type }) => type !== "REQUEST"))("makes $name", (frame) => {
    expect(encode(frame)).toBe(frame.hex);
  });

  it.each(VECTORS.frames)("cuts out $name", (frame) => {
    const { stream, hex, text, number, byte, requests, micros } = frame;
    const bytes = bytesOf(hex);
    const heard: unknown[] = [];
    const isRead = new FrameDecoder().read(bytes, {
      onFrame: (...[kind, id, at, start, end]) => heard.push([kind, id, Buffer.from(at.subarray(start, end))]),
      onBody: (id, at, start, end, isLast) =>
        heard.push([isLast ? FrameType.END : FrameType.DATA, id, Buffer.from(at.subarray(start, end))]),
    });
    expect(isRead).toBe(true);
    expect(heard).toEqual([[typeOf(frame), stream, bytes.subarray(8)]]);
    if (text !== undefined) expect(bytes.toString("utf8", 8)).toBe(text);
    if (number !== undefined) expect(readUint32(bytes, 8)).toBe(number);
    if (byte !== undefined) expect(bytes[8]).toBe(byte);
    if (micros !== undefined) expect([readUint32(bytes, 8), readUint32(bytes, 12)]).toEqual([requests, micros]);
  });

  it.each(of("HELLO"))(
    "reads $name",
    ({ hex, from, version, window, streams, pid, maxData, takesTrailers = false }) => {
      const bytes = bytesOf(hex);
      const number = from === "instance" ? 3 : 0;
      expect(readHello(FrameType.HELLO, bytes, 8, bytes.length)).toEqual({
        ...{ version, window, maxStreams: streams, number, pid, maxDataBytes: maxData, takesTrailers },
      });
    },
  );

  it.each(of("REQUEST"))("reads $name", ({ hex, method, target, host, fields = [], flags = 0 }) => {
    const head = new LaneRequestHead(bytesOf(hex).toString("latin1", 8));
    expect(head.isConsistent).toBe(true);
    expect({ method: head.method, target: head.target, host: head.host }).toEqual({ method, target, host });
    expect(head.pairs()).toEqual(host === "" ? fields : [["host", host], ...fields]);
    const { isWhole, isIdempotent, isUpgrade, expectsContinue, isElsewhere, isLittle } = head;
    expect({ isWhole, isIdempotent, isUpgrade, expectsContinue, isElsewhere, isLittle }).toEqual({
      isWhole: (flags & 1) !== 0,
      isIdempotent: (flags & 2) !== 0,
      isUpgrade: (flags & 4) !== 0,
      expectsContinue: (flags & 8) !== 0,
      isElsewhere: (flags & 16) !== 0,
      isLittle: (flags & 32) !== 0,
    });
    for (const [name] of fields) {
      const values = fields.filter(([each]) => each === name).map(([, value]) => value);
      expect(head.get(name)).toBe(values.join(", "));
    }
    expect(head.get("x-not-there")).toBeNull();
  });

  it.each(of("RESPONSE"))("reads $name", ({ hex, status, flags = 0, length, reason = "", fields = [] }) => {
    const bytes = bytesOf(hex);
    const start = new ResponseStart();
    expect(start.read(bytes, 8, bytes.length)).toBe(true);
    const contentLength = (flags & 2) === 0 ? -1 : length;
    expect(start).toMatchObject({ status, contentLength, isLast: (flags & 1) !== 0, handlerMicros: 0 });
    expect(bytes.toString("latin1", start.reasonAt, start.fieldsAt)).toBe(reason);
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    expect(bytes.toString("latin1", start.fieldsAt)).toBe(`${lines}\r\n`);
  });

  it.each(VECTORS.unreadable)("does not read $name, nor anything after it", ({ hex, problem }) => {
    const decoder = new FrameDecoder();
    const sink = { onFrame: () => expect.unreachable(), onBody: () => expect.unreachable() };
    expect(decoder.read(bytesOf(hex), sink)).toBe(false);
    expect(decoder.problem).toBe(problem);
    expect(decoder.read(bytesOf(vector("GOAWAY").hex), sink)).toBe(false);
  });
});
