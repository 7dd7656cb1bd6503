/** Arbitrary frames of a lane, and bytes split anywhere. */
import fc from "fast-check";
import { FRAME_HEADER_BYTES, FrameType, PAYLOAD_BOUNDS } from "../../src/lane/protocol.js";

export interface AnyFrame {
  type: number;
  id: number;
  payload: Uint8Array;
}

export function frameBytes({ type, id, payload }: AnyFrame): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + payload.length);
  bytes.writeUIntLE(payload.length, 0, 3);
  bytes[3] = type;
  bytes.writeUInt32LE(id, 4);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

/** Complete frames of any type with any payload. */
export const anyFrame: fc.Arbitrary<AnyFrame> = fc.constantFrom(...Object.values(FrameType)).chain((type) => {
  const [least, most] = PAYLOAD_BOUNDS[type] as readonly [number, number];
  return fc.record({
    type: fc.constant<number>(type),
    id: fc.oneof(fc.nat(3), fc.integer({ min: 0, max: 0xffff_ffff })),
    payload: fc.uint8Array({ minLength: least, maxLength: Math.min(most, least + 80) }),
  });
});

/** Splits bytes into pieces of these sizes, repeatedly; a size of 0 is an empty read. Not all sizes may be 0. */
export function cut(bytes: Uint8Array, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    pieces.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return pieces;
}
