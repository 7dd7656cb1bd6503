/** HTTP/2 frames for tests: written byte by byte, valid or not, and read back. Pure. */
import { ErrorCode, FrameType, PREFACE } from "../../src/http2/protocol.js";

export interface Frame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ""): Buffer {
  const body = Buffer.from(payload as string, "latin1");
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, body]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** Returns a SETTINGS frame. */
export function settings(...values: [setting: number, value: number][]): Buffer {
  const payload = values.map(([setting, value]) =>
    Buffer.concat([Buffer.from([setting >> 8, setting & 255]), uint32(value)]),
  );
  return frame(FrameType.SETTINGS, 0, 0, Buffer.concat(payload));
}

/** The client's connection preface. */
export const HELLO = Buffer.concat([PREFACE, settings()]);

export type Fields = readonly (readonly [name: string, value: string])[];

/** Returns a block of literal fields that are not added to the dynamic table. */
export function block(fields: Fields): Buffer {
  const string = (text: string) => {
    const bytes = Buffer.from(text, "latin1");
    if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    const length = [127];
    let rest = bytes.length - 127;
    for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
    return Buffer.concat([Buffer.from([...length, rest]), bytes]);
  };
  return Buffer.concat(fields.map(([name, value]) => Buffer.concat([Buffer.from([0]), string(name), string(value)])));
}

export const GET: Fields = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "a"],
];
export const POST: Fields = [[":method", "POST"], ...GET.slice(1)];

const END_STREAM = 1;
const END_HEADERS = 4;

export function headers(stream: number, fields: Fields, isWhole = true): Buffer {
  return frame(FrameType.HEADERS, END_HEADERS | (isWhole ? END_STREAM : 0), stream, block(fields));
}

export function data(stream: number, payload: Uint8Array | string, isLast = false): Buffer {
  return frame(FrameType.DATA, isLast ? END_STREAM : 0, stream, payload);
}

export function reset(stream: number, error: number = ErrorCode.CANCEL): Buffer {
  return frame(FrameType.RST_STREAM, 0, stream, uint32(error));
}

export function windowUpdate(stream: number, bytes: number): Buffer {
  return frame(FrameType.WINDOW_UPDATE, 0, stream, uint32(bytes));
}

/** Removes complete frames from the beginning of the received bytes. */
export function framesIn(received: Buffer): { frames: Frame[]; rest: Buffer } {
  const frames: Frame[] = [];
  let at = 0;
  while (received.length - at >= 9) {
    const length = received.readUIntBE(at, 3);
    if (received.length - at - 9 < length) break;
    const payload = received.subarray(at + 9, at + 9 + length);
    const stream = received.readUInt32BE(at + 5);
    frames.push({ type: received.readUInt8(at + 3), flags: received.readUInt8(at + 4), stream, payload });
    at += 9 + length;
  }
  return { frames, rest: received.subarray(at) };
}

/** Returns how a stream or the connection ended, for comparisons: `RST 1 CANCEL`, `GOAWAY NO_ERROR`. */
export function endingOf({ type, stream, payload }: Frame): string | undefined {
  const nameOf = (code: number) => Object.entries(ErrorCode).find(([, value]) => value === code)?.[0] ?? String(code);
  if (type === FrameType.RST_STREAM) return `RST ${stream} ${nameOf(payload.readUInt32BE(0))}`;
  if (type === FrameType.GOAWAY) return `GOAWAY ${nameOf(payload.readUInt32BE(4))}`;
  return undefined;
}
