import fc from "fast-check";
import { expect, it } from "vitest";
import { LaneDecoder } from "./decoder.js";
import { LaneEncoder } from "./encoder.js";
import { Frame, MAX_DATA_BYTES } from "./protocol.js";

it("puts pieces of one body that follow each other into one DATA, and keeps every byte and the order of frames", () => {
  const piece = fc.record({ id: fc.nat(2), size: fc.oneof(fc.constant(1), fc.nat(40_000)) });
  const other = fc.record({ id: fc.nat(2), size: fc.constant(-1) });
  fc.assert(
    fc.property(fc.array(fc.oneof({ weight: 4, arbitrary: piece }, other), { maxLength: 40 }), (steps) => {
      const encoder = new LaneEncoder();
      const told: string[] = [];
      let next = 0;
      for (const { id, size } of steps) {
        if (size < 0) {
          encoder.empty(Frame.CANCEL, id);
          told.push(`cancel ${id}`);
          continue;
        }
        const bytes = Uint8Array.from({ length: size }, () => next++ % 251);
        encoder.data(id, bytes, 0, size);
        for (const byte of bytes) told.push(`${id} ${byte}`);
      }
      const heard: string[] = [];
      const isRead = new LaneDecoder().read(encoder.take(), {
        onFrame: (_, id) => void heard.push(`cancel ${id}`),
        onBody: (id, bytes, start, end) => {
          for (let i = start; i < end; i++) heard.push(`${id} ${bytes[i]}`);
        },
      });
      expect(isRead).toBe(true);
      expect(heard).toEqual(told);
    }),
    { numRuns: 50 },
  );
  const encoder = new LaneEncoder();
  for (let i = 0; i < MAX_DATA_BYTES + 1; i++) encoder.data(1, Buffer.from("x"), 0, 1);
  expect(encoder.length).toBe(MAX_DATA_BYTES + 1 + 2 * 8);
  encoder.take();
  encoder.data(1, Buffer.from("x"), 0, 1);
  expect(encoder.length).toBe(9);
});
