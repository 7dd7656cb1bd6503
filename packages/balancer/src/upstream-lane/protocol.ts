/** The lane's protocol as the balancer needs it, version 1; docs/lane.md specifies it. */

export const LANE_VERSION = 1;
/** `PCLN`, read as a little-endian number. */
export const MAGIC = 0x4e4c4350;
export const HEADER_BYTES = 8;

/** Types of frames. */
export const Frame = {
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
  BEGUN: 11,
  BUSY: 12,
  GOAWAY: 13,
  PING: 14,
  PONG: 15,
  CLOSE: 16,
} as const;

export const MAX_HEAD_BYTES = 2 << 20;
export const MAX_DATA_BYTES = 65_536;

/** How many bytes a frame of each type may carry, as [least, most]. A type that is not here does not exist. */
export const BOUNDS: Readonly<Record<number, readonly [number, number]>> = {
  [Frame.HELLO]: [14, 64],
  [Frame.REQUEST]: [10, MAX_HEAD_BYTES],
  [Frame.RESPONSE]: [15, MAX_HEAD_BYTES],
  [Frame.DATA]: [0, MAX_DATA_BYTES],
  [Frame.END]: [0, MAX_DATA_BYTES],
  [Frame.CANCEL]: [0, 0],
  [Frame.WITHDRAW]: [0, 0],
  [Frame.CANCELLED]: [1, 1],
  [Frame.FAIL]: [0, 0],
  [Frame.WINDOW]: [4, 4],
  [Frame.BEGUN]: [0, 0],
  [Frame.BUSY]: [4, 4],
  [Frame.GOAWAY]: [0, 0],
  [Frame.PING]: [4, 4],
  [Frame.PONG]: [4, 4],
  [Frame.CLOSE]: [0, 1024],
};

/** What an instance may send of one answer before we grant more. */
export const ANSWER_WINDOW_BYTES = 65_536;

/** Flags of a REQUEST. */
export const REQUEST_END = 1;
export const REQUEST_IDEMPOTENT = 2;
export const REQUEST_UPGRADE = 4;
export const REQUEST_EXPECTS = 8;
export const REQUEST_ELSEWHERE = 16;
/** Flags of a RESPONSE. */
export const RESPONSE_END = 1;
export const RESPONSE_LENGTH = 2;

/** Methods that travel as a number. */
export const METHOD_CODES: Readonly<Record<string, number>> = {
  GET: 1,
  POST: 2,
  HEAD: 3,
  PUT: 4,
  DELETE: 5,
  PATCH: 6,
  OPTIONS: 7,
};

/** Bytes of a REQUEST before its text, and of a RESPONSE before its reason. */
export const REQUEST_FIXED = 10;
export const RESPONSE_FIXED = 15;
