/** The numbers of the lane's protocol, version 1, as docs/lane.md specifies it, and how its frames hold them. */

/** Both sides send it in their HELLO; a side that receives another one closes the lane. */
export const LANE_VERSION = 1;

/** `PCLN`, the first bytes of a HELLO's payload, read as a little-endian number. */
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
} as const;

/** The longest head, in bytes: the longest that a configuration allows, with what the balancer adds to it. */
const MAX_HEAD_BYTES = 2 << 20;
export const MAX_DATA_BYTES = 65_536;
export const MAX_CLOSE_BYTES = 1024;

/** The least and the most payload of each type, by its number. A type that is not here does not exist. */
export const PAYLOAD_BOUNDS: readonly (readonly [number, number] | undefined)[] = [
  undefined,
  [14, 64],
  [10, MAX_HEAD_BYTES],
  [15, MAX_HEAD_BYTES],
  [0, MAX_DATA_BYTES],
  [0, MAX_DATA_BYTES],
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
];

/** Slots of streams: a stream's number is its slot, with the number of the slot's uses above. */
const SLOT_BITS = 16;
export const SLOT_MASK = (1 << SLOT_BITS) - 1;

/**
 * What the balancer may send of a request's body before the instance grants more, in bytes: what two reads of its client
 * bring, so that the instance holds them and not the one balancer of all.
 */
export const REQUEST_WINDOW_BYTES = 1_048_576;

/** What an instance may send of a response before the balancer grants more, in bytes. */
export const RESPONSE_WINDOW_BYTES = 65_536;

/** The little-endian numbers of the lane's frames. */
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
