/** Reads the first frame of an instance; see "HELLO" in docs/lane.md. Pure. */
import { uint32 } from "./decoder.js";
import { Frame, LANE_VERSION, MAGIC } from "./protocol.js";

/** What an instance says of itself and of the lane. */
export interface InstanceHello {
  /** What it takes of a request's body before it grants more, in bytes. */
  requestWindow: number;
  /** Streams that may be open at once. */
  maxStreams: number;
  /** What it calls this lane in its work mark; 0 when it keeps none. */
  number: number;
}

/** Where the lane's number is, which an instance may leave out. */
const NUMBER_AT = 14;

/** What the frame says, or what is wrong with it. */
export function readHello(type: number, bytes: Uint8Array, start: number, end: number): InstanceHello | string {
  if (type !== Frame.HELLO || uint32(bytes, start) !== MAGIC) return "no hello at its begin";
  const version = uint16(bytes, start + 4);
  if (version !== LANE_VERSION) return `version ${version} of the lane; this balancer speaks ${LANE_VERSION}`;
  return {
    requestWindow: uint32(bytes, start + 6),
    maxStreams: uint32(bytes, start + 10),
    number: end - start < NUMBER_AT + 2 ? 0 : uint16(bytes, start + NUMBER_AT),
  };
}

function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}
