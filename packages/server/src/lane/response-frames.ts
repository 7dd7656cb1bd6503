/** Builds the frames that begin an answer, or are all of it. Pure: no sockets. */
import type { FrameBuffer } from "./frame-buffer.js";
import { FRAME_HEADER_BYTES, FrameType, RESPONSE_TEXT, ResponseFlag } from "./protocol.js";

export interface AnswerHead {
  status: number;
  /** Empty for the usual one; what is longer than 255 characters is cut. */
  reason: string;
  /** As lines, each with its CRLF. */
  fields: string;
  /** From the call of the handler to its answer, in microseconds. */
  micros: number;
}

/**
 * A RESPONSE.
 *
 * @param length of the body; -1 when nobody knows it.
 * @param isLast no body follows.
 * @returns the position of the length, for whoever learns it later.
 */
export function putHead(frames: FrameBuffer, id: number, head: AnswerHead, length: number, isLast: boolean): number {
  const { status, reason, fields } = head;
  const reasonBytes = Math.min(reason.length, 255);
  const payload = RESPONSE_TEXT + reasonBytes + fields.length + 2;
  frames.reserve(FRAME_HEADER_BYTES + payload);
  frames.header(FrameType.RESPONSE, id, payload);
  const { bytes, length: at } = frames;
  bytes[at] = status;
  bytes[at + 1] = status >>> 8;
  bytes[at + 2] = (isLast ? ResponseFlag.END : 0) | (length >= 0 ? ResponseFlag.LENGTH : 0);
  bytes[at + 3] = 0;
  bytes.writeUInt32LE(Math.min(0xffff_ffff, Math.round(head.micros)), at + 4);
  bytes.writeUIntLE(Math.max(length, 0), at + 8, 6);
  bytes[at + 14] = reasonBytes;
  if (reasonBytes > 0) bytes.write(reason, at + RESPONSE_TEXT, reasonBytes, "latin1");
  bytes.write(fields, at + RESPONSE_TEXT + reasonBytes, fields.length, "latin1");
  frames.length = at + payload;
  bytes[frames.length - 2] = 13;
  bytes[frames.length - 1] = 10;
  return at + 8;
}

/**
 * An interim response without fields.
 *
 * @returns what it takes of the stream's window.
 */
export function putInterim(frames: FrameBuffer, id: number, status: number): number {
  const before = frames.length;
  putHead(frames, id, { status, reason: "", fields: "", micros: 0 }, -1, false);
  return frames.length - before - FRAME_HEADER_BYTES;
}

/** A whole answer with a text, which is encoded where it is to lie. */
export function putText(frames: FrameBuffer, id: number, head: AnswerHead, text: string): void {
  const lengthAt = putHead(frames, id, head, 0, false);
  // A character is three bytes at most.
  frames.reserve(FRAME_HEADER_BYTES + text.length * 3);
  const headerAt = frames.length;
  const length = frames.bytes.write(text, headerAt + FRAME_HEADER_BYTES, text.length * 3, "utf8");
  frames.header(FrameType.END, id, length);
  frames.length += length;
  frames.bytes.writeUIntLE(length, lengthAt, 6);
}
