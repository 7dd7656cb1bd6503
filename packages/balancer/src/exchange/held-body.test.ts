import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BufferBudget } from "./buffer-budget.js";
import { CollectedBytes } from "./held-body.js";

const MAX_BYTES = 100_000;

describe("a body that is held until it is whole", () => {
  it("has what was added, in its order, and takes no more from the budget than its bound", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 30 }), (pieces) => {
        const budget = new BufferBudget(2 * MAX_BYTES);
        const body = new CollectedBytes(budget, MAX_BYTES);
        const kept: Uint8Array[] = [];
        for (const piece of pieces) if (body.add(piece, 0, piece.length)) kept.push(piece);
        expect(Buffer.from(body.bytes).equals(Buffer.concat(kept))).toBe(true);
        expect(body.bytes.length).toBeLessThanOrEqual(MAX_BYTES);
        // Another of the same size still has room, and when both are gone all of it is there again.
        expect(budget.take(MAX_BYTES)).toBe(true);
        budget.give(MAX_BYTES);
        body.clear();
        expect(budget.take(2 * MAX_BYTES)).toBe(true);
      }),
    );
  });

  it("takes nothing beyond its bound, or when the budget is spent, and keeps what it has", () => {
    const budget = new BufferBudget(8192);
    const body = new CollectedBytes(budget, 6000);
    const piece = new Uint8Array(5000).fill(7);
    expect(body.add(piece, 0, 5000)).toBe(true);
    expect(body.add(piece, 0, 1001)).toBe(false);
    expect(body.add(piece, 4999, 5000)).toBe(true);
    const other = new CollectedBytes(budget, 6000);
    expect(other.add(piece, 0, 5000)).toBe(false);
    body.clear();
    expect(other.add(piece, 0, 5000)).toBe(true);
    expect(other.bytes.length).toBe(5000);
  });

  it("takes little memory for many small pieces", () => {
    const budget = new BufferBudget(16_384);
    const body = new CollectedBytes(budget, MAX_BYTES);
    for (let n = 0; n < 8192; n++) expect(body.add(Uint8Array.of(n), 0, 1)).toBe(true);
    expect(budget.take(8192)).toBe(true);
  });
});
