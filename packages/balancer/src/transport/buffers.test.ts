import fc from "fast-check";
import { expect, it } from "vitest";
import { WaitingBytes } from "./buffers.js";

it("returns what was added, in order, however it is split, and counts the waiting bytes", () => {
  const step = fc.oneof(
    fc.nat(200_000).map((size) => ({ kind: "add" as const, size })),
    fc.nat(70_000).map((size) => ({ kind: "send" as const, size })),
    fc.constant({ kind: "clear" as const }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const waiting = new WaitingBytes();
      let model = Buffer.alloc(0);
      let next = 0;
      for (const action of steps) {
        if (action.kind === "add") {
          const bytes = Buffer.from(Uint8Array.from({ length: action.size }, () => next++ % 251));
          waiting.add(bytes);
          model = Buffer.concat([model, bytes]);
        } else if (action.kind === "send") {
          const first = waiting.first();
          expect(first.length > 0).toBe(model.length > 0);
          const count = Math.min(action.size, first.length);
          expect(Buffer.compare(first, model.subarray(0, first.length))).toBe(0);
          if (count > 0) waiting.sent(count);
          model = model.subarray(count);
        } else {
          waiting.clear();
          model = Buffer.alloc(0);
        }
        expect(waiting.length).toBe(model.length);
        expect(waiting.heldBytes).toBeGreaterThanOrEqual(model.length);
        if (action.kind === "clear") expect(waiting.heldBytes).toBe(0);
      }
    }),
    { numRuns: 50 },
  );
});
