/** The constants of the lane's protocol, version 3 (docs/lane.md), and the encoding of its numbers. */
import { MAX_TRAILER_BYTES, MAX_TRAILERS } from "../http/trailers.js";

/**
 * Sent in HELLO. Neighbouring versions understand each other: a side uses newer features only if the HELLO of the other side has that
 * version. A side that receives any other version closes the lane.
 */
export const LANE_VERSION = 3;
/** From this version on, STARTED is also sent when a handler has returned without a response, and COST reports CPU time. */
export const COST_VERSION = 2;
/** From this version on, TRAILERS may precede the END of a body. */
export const TRAILERS_VERSION = 3;
/** From this version on, a request may have the flag LITTLE. */
export const LITTLE_VERSION = 3;

/** `PCLN`, the first bytes of a HELLO's payload, as a little-endian number. */
export const MAGIC = 0x4e_4c_43_50;

/** Payload length (3 bytes), type (1), stream (4), all little-endian. */
export const FRAME_HEADER_BYTES = 8;

export const FrameType = {
  HELLO: 1,
  REQUEST: 2,
  RESPONSE: 3,
  DATA: 4,
  END: 5,
  CANCEL: 6,
  WITHDRAW: 7,
  CANCELLED: 8,
  FAIL: 9,
  WINDOW: 10,
  STARTED: 11,
  BUSY: 12,
  GOAWAY: 13,
  PING: 14,
  PONG: 15,
  CLOSE: 16,
  COST: 17,
  TRAILERS: 18,
} as const;

/** The maximum size of a head in bytes: the largest configurable one, with the balancer's additions. */
const MAX_HEAD_BYTES = 2 << 20;
/** The maximum payload of DATA and END that every side accepts, and the maximum for a side whose HELLO allows more. */
export const MAX_DATA_BYTES = 65_536;
export const LARGE_DATA_BYTES = 1 << 20;
export const MAX_CLOSE_BYTES = 1024;
/** The shortest line of TRAILERS, and the limit for trailers with a space for each line. */
const LEAST_TRAILERS_BYTES = 4;
const MAX_TRAILERS_BYTES = MAX_TRAILER_BYTES + MAX_TRAILERS;

/** The minimum and maximum payload of each type, by number. Other types do not exist. */
export const PAYLOAD_BOUNDS: readonly (readonly [number, number] | undefined)[] = [
  undefined,
  [14, 64],
  [10, MAX_HEAD_BYTES],
  [15, MAX_HEAD_BYTES],
  [0, LARGE_DATA_BYTES],
  [0, LARGE_DATA_BYTES],
  [0, 0],
  [0, 0],
  [1, 1],
  [0, 0],
  [4, 4],
  [0, 0],
  [4, 4],
  [0, 0],
  [4, 4],
  [4, 4],
  [0, MAX_CLOSE_BYTES],
  [8, 8],
  [LEAST_TRAILERS_BYTES, MAX_TRAILERS_BYTES],
];

/** A stream's number is its slot, with the slot's use count in the upper bits. */
const SLOT_BITS = 16;
export const SLOT_MASK = (1 << SLOT_BITS) - 1;

/**
 * How many bytes of a request's body the balancer may send before the instance grants more. This is the size of two reads from the client.
 * So the instance, not the balancer, buffers what was read.
 */
export const REQUEST_WINDOW_BYTES = 1_048_576;

/** How many bytes of a response an instance may send before the balancer grants more. */
export const RESPONSE_WINDOW_BYTES = 65_536;
/** The same for a request with the flag LITTLE. A body that is sent whole with its head may be larger, up to LITTLE_BODY_BYTES. */
export const LITTLE_WINDOW_BYTES = 8192;
export const LITTLE_BODY_BYTES = 20_480;

/** The little-endian numbers of frames. */
export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

export function readUint24(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (readUint24(bytes, at) | ((bytes[at + 3] as number) << 24)) >>> 0;
}

export function putUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

export function putUint24(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
}

export function putUint32(bytes: Uint8Array, at: number, value: number): void {
  putUint24(bytes, at, value);
  bytes[at + 3] = value >>> 24;
}
