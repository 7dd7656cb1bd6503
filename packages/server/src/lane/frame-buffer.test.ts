/** Which buffer frames are put into: never one that a socket still sends from. */
import { expect, it } from "vitest";
import { FrameBuffer } from "./frame-buffer.js";
import { FrameType } from "./protocol.js";

// Buffers are compared by `===`: a matcher that is told two of them looks at every byte, which takes seconds.
function fill(frames: FrameBuffer, size: number): Buffer {
  frames.copy(FrameType.DATA, 1, new Uint8Array(size), 0, size);
  return frames.bytes;
}

it("uses a buffer again that was sent, and one that a socket has only when it gives it back", () => {
  const frames = new FrameBuffer();
  const first = fill(frames, 50_000);
  frames.clear(false);
  expect(fill(frames, 50_000) === first).toBe(true);
  frames.clear(true);
  const second = fill(frames, 50_000);
  expect(second === first).toBe(false);
  frames.returned();
  frames.clear(true);
  expect(fill(frames, 50_000) === first).toBe(true);
  // The second is still being sent.
  frames.clear(true);
  const third = fill(frames, 50_000);
  expect(third === first || third === second).toBe(false);
});

it("keeps none that grew large for once", () => {
  const frames = new FrameBuffer();
  const large = fill(frames, 600_000);
  frames.clear(true);
  frames.returned();
  frames.clear(true);
  expect(fill(frames, 600_000) === large).toBe(false);
});
