/** The buffer that frames are written into is never one that a socket still sends from. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { FrameBuffer } from "./frame-buffer.js";
import { FrameDecoder } from "./frame-decoder.js";
import { FrameType, MAX_DATA_BYTES } from "./protocol.js";

// Compares buffers with `===`: a matcher would compare every byte, which takes seconds.
function fill(frames: FrameBuffer, size: number): Buffer {
  frames.copy(FrameType.DATA, 1, new Uint8Array(size), 0, size);
  return frames.bytes;
}

it("reuses a buffer that was sent, and one that a socket holds only after the socket returns it", () => {
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
  // The second buffer is still being sent.
  frames.clear(true);
  const third = fill(frames, 50_000);
  expect(third === first || third === second).toBe(false);
});

it("keeps none that once grew large", () => {
  const frames = new FrameBuffer();
  const large = fill(frames, 600_000);
  frames.clear(true);
  frames.returned();
  frames.clear(true);
  expect(fill(frames, 600_000) === large).toBe(false);
});

it("joins consecutive small pieces of one body into one DATA", () => {
  const frames = new FrameBuffer();
  const told: string[] = [];
  const say = (stream: number, text: string) => {
    frames.data(stream, Buffer.from(text), 0, text.length);
    told.push(`${stream} ${text}`);
  };
  for (const text of ["a", "b", "c"]) say(1, text);
  say(2, "d");
  frames.empty(FrameType.STARTED, 2);
  say(2, "e");
  say(2, "x".repeat(MAX_DATA_BYTES - 1));
  say(2, "f");
  const heard: string[] = [];
  const isRead = new FrameDecoder().read(frames.bytes.subarray(0, frames.length), {
    onFrame: (type, id) => heard.push(`${type} ${id}`),
    onBody: (id, bytes, start, end) => heard.push(`${id} ${bytes.toString("latin1", start, end)}`),
  });
  expect(isRead).toBe(true);
  const full = `2 e${"x".repeat(MAX_DATA_BYTES - 1)}`;
  expect(heard).toEqual(["1 abc", "2 d", `${FrameType.STARTED} 2`, full, "2 f"]);
});

/** Bytes and cancels in their order; consecutive pieces of one body are joined. */
class Pieces {
  private readonly list: { id: number; bytes: Uint8Array[] | undefined }[] = [];

  add(id: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const last = this.list.at(-1);
    if (last?.id === id && last.bytes !== undefined) last.bytes.push(bytes.slice());
    else this.list.push({ id, bytes: [bytes.slice()] });
  }

  cancel(id: number): void {
    this.list.push({ id, bytes: undefined });
  }

  all(): string[] {
    return this.list.map(({ id, bytes }) =>
      bytes === undefined ? `cancel ${id}` : `${id} ${Buffer.concat(bytes).toString("latin1")}`,
    );
  }
}

it("joins consecutive pieces of one body into one DATA, and keeps every byte and the order of frames", () => {
  const piece = fc.record({ id: fc.nat(2), size: fc.oneof(fc.constant(1), fc.nat(40_000)) });
  const other = fc.record({ id: fc.nat(2), size: fc.constant(-1) });
  fc.assert(
    fc.property(fc.array(fc.oneof({ weight: 4, arbitrary: piece }, other), { maxLength: 40 }), (steps) => {
      const frames = new FrameBuffer();
      const told = new Pieces();
      let next = 0;
      for (const { id, size } of steps) {
        if (size < 0) {
          frames.empty(FrameType.CANCEL, id);
          told.cancel(id);
          continue;
        }
        const bytes = Uint8Array.from({ length: size }, () => next++ % 251);
        frames.data(id, bytes, 0, size);
        told.add(id, bytes);
      }
      const heard = new Pieces();
      const isRead = new FrameDecoder().read(frames.take(), {
        onFrame: (_, id) => heard.cancel(id),
        onBody: (id, bytes, start, end) => heard.add(id, bytes.subarray(start, end)),
      });
      expect(isRead).toBe(true);
      expect(heard.all()).toEqual(told.all());
    }),
    { numRuns: 50 },
  );
  const frames = new FrameBuffer();
  for (let i = 0; i < MAX_DATA_BYTES + 1; i++) frames.data(1, Buffer.from("x"), 0, 1);
  expect(frames.length).toBe(MAX_DATA_BYTES + 1 + 2 * 8);
  frames.take();
  frames.data(1, Buffer.from("x"), 0, 1);
  expect(frames.length).toBe(9);
});
