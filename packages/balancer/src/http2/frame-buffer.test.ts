/** What happens to the buffers of a turn in which many clients get large responses. */
import { expect, it } from "vitest";
import { FrameBuffer } from "./frame-buffer.js";

it("keeps a few buffers for the next turn, and leaves none of the others to the garbage collector", () => {
  const buffers = Array.from({ length: 200 }, () => new FrameBuffer());
  for (const buffer of buffers) for (let at = 0; at < 4; at++) buffer.data(1, new Uint8Array(16_384), 0, 16_384);
  const used = buffers.map(({ bytes }) => bytes);
  expect(new Set(used.map(({ buffer }) => buffer)).size).toBe(200);
  for (const buffer of buffers) buffer.clear();
  const kept = used.reduce((sum, bytes) => sum + bytes.buffer.byteLength, 0);
  expect(kept).toBeGreaterThan(0);
  expect(kept).toBeLessThan(1 << 20);
  // The kept buffers can be used again.
  for (const buffer of buffers) buffer.data(1, new Uint8Array(16_384).fill(7), 0, 16_384);
  expect(buffers.every(({ bytes, length }) => bytes[length - 1] === 7)).toBe(true);
});
