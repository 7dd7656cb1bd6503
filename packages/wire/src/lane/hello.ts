/** HELLO, the first frame of each side; see docs/lane.md. Pure. */
import { isNeighbour } from "../control/protocol.js";
import type { FrameBuffer } from "./frame-buffer.js";
import {
  FRAME_HEADER_BYTES,
  FrameType,
  LANE_VERSION,
  LARGE_DATA_BYTES,
  MAGIC,
  MAX_DATA_BYTES,
  putUint16,
  putUint32,
  readUint16,
  readUint32,
} from "./protocol.js";

/** The contents of a HELLO. */
export interface LaneHello {
  version: number;
  /** How many bytes of each stream's body the sender accepts before it grants more. */
  window: number;
  /** The maximum number of open streams; 0 from the balancer. */
  maxStreams: number;
  /** The lane's number in the instance's scoreboard; 0 without one. */
  number: number;
  /** The instance's process, whose main thread a balancer may watch; undefined if it was not sent. */
  pid?: number | undefined;
  /** The maximum payload of DATA that the sender accepts, in bytes; undefined: MAX_DATA_BYTES. */
  maxDataBytes?: number | undefined;
  /** Whether the HTTP/1.1 server beside a lane for control reads the trailers of requests. Default: false. */
  takesTrailers?: boolean;
}

/** The position of the lane's number, which only an instance sends. */
const NUMBER_AT = 14;
const PID_AT = 16;
const MAX_DATA_AT = 20;
const FLAGS_AT = 24;
const TAKES_TRAILERS = 1;

export function putHello(
  frames: FrameBuffer,
  { window, maxStreams, number, pid, maxDataBytes, takesTrailers = false }: Omit<LaneHello, "version">,
  hasNumber: boolean,
): void {
  const hasMaxData = pid !== undefined && maxDataBytes !== undefined;
  const dataEnd = takesTrailers ? FLAGS_AT + 4 : FLAGS_AT;
  const payload = hasMaxData ? dataEnd : pid !== undefined ? MAX_DATA_AT : hasNumber ? PID_AT : NUMBER_AT;
  frames.reserve(FRAME_HEADER_BYTES + payload);
  frames.header(FrameType.HELLO, 0, payload);
  const { bytes, length: at } = frames;
  putUint32(bytes, at, MAGIC);
  putUint16(bytes, at + 4, LANE_VERSION);
  putUint32(bytes, at + 6, window);
  putUint32(bytes, at + 10, maxStreams);
  if (payload > NUMBER_AT) putUint16(bytes, at + NUMBER_AT, number);
  if (pid !== undefined) putUint32(bytes, at + PID_AT, pid);
  if (hasMaxData) putUint32(bytes, at + MAX_DATA_AT, maxDataBytes);
  if (hasMaxData && takesTrailers) putUint32(bytes, at + FLAGS_AT, TAKES_TRAILERS);
  frames.length += payload;
}

/** Returns the contents of the frame, or the reason why it is invalid. */
export function readHello(type: number, bytes: Uint8Array, start: number, end: number): LaneHello | string {
  if (type !== FrameType.HELLO || readUint32(bytes, start) !== MAGIC) return "no HELLO at the start";
  const version = readUint16(bytes, start + 4);
  if (!isNeighbour(version, LANE_VERSION)) return `version ${version} of the lane; this side speaks ${LANE_VERSION}`;
  return {
    version,
    window: readUint32(bytes, start + 6),
    maxStreams: readUint32(bytes, start + 10),
    number: end - start < PID_AT ? 0 : readUint16(bytes, start + NUMBER_AT),
    pid: end - start < PID_AT + 4 ? undefined : readUint32(bytes, start + PID_AT),
    maxDataBytes:
      end - start < MAX_DATA_AT + 4
        ? undefined
        : Math.min(Math.max(readUint32(bytes, start + MAX_DATA_AT), MAX_DATA_BYTES), LARGE_DATA_BYTES),
    takesTrailers: end - start >= FLAGS_AT + 4 && (readUint32(bytes, start + FLAGS_AT) & TAKES_TRAILERS) !== 0,
  };
}
