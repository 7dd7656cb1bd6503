/** The numbers of the lane's protocol, version 1, as docs/lane.md has them. */

/** Both sides say it in their HELLO; a side that hears another one closes. */
export const LANE_VERSION = 1;

/** The first bytes of a HELLO's payload. */
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
  BEGUN: 11,
  BUSY: 12,
  GOAWAY: 13,
  PING: 14,
  PONG: 15,
  CLOSE: 16,
} as const;

/** The longest head, in bytes: the longest that a configuration allows, with what the balancer adds to it. */
const MAX_HEAD_BYTES = 2 << 20;
export const MAX_DATA_BYTES = 65_536;
const MAX_CLOSE_BYTES = 1024;

/** The least and the most payload of each type, by its number; the same for both where it is fixed. */
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

/**
 * What the balancer may send of a request's body before we grant more, in bytes: what two reads of its client bring, so that
 * it is us who keep them and not the one balancer of all.
 */
export const STREAM_WINDOW_BYTES = 1_048_576;

export const RequestFlag = {
  /** No body follows. */
  END: 1,
  /** May be begun before anybody was told so, since it may be sent twice (RFC 9110 §9.2.2). */
  IDEMPOTENT: 2,
  /** Asks for an upgrade: after a 101 the stream is a tunnel. */
  UPGRADE: 4,
  /** Waits for 100 Continue before it sends its body. */
  EXPECTS: 8,
  /** The client asked for another scheme or host than the balancer was: X-Forwarded-Proto and -Host say which. */
  ELSEWHERE: 16,
} as const;

export const ResponseFlag = {
  /** No body follows. */
  END: 1,
  /** The length is told. */
  LENGTH: 2,
} as const;

/** The methods that travel as a number; 0 stands for any other, whose name follows. */
export const METHODS = ["", "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] as const;

/** Where the text of a REQUEST begins. */
export const REQUEST_TEXT = 10;
/** Where the reason of a RESPONSE begins. */
export const RESPONSE_TEXT = 15;
