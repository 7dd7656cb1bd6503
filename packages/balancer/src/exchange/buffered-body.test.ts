import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BufferBudget } from "./buffer-budget.js";
import { BufferedBody, CollectedBytes } from "./buffered-body.js";

const BYTE = Buffer.from("x");

describe("the part of a body that is kept for a repetition", () => {
  it("is one piece in its read buffer, and is joined when more arrives", () => {
    const replay = new BufferedBody(new BufferBudget(1_000_000), 100);
    const read = Buffer.from("--abc--");
    replay.add(read, 2, 5);
    expect(replay.bytes.buffer).toBe(read.buffer);
    expect(replay.isIn(read)).toBe(true);
    replay.add(Buffer.from("def"), 0, 3);
    expect(replay.isIn(read)).toBe(false);
    expect(Buffer.from(replay.bytes).toString()).toBe("abcdef");
    replay.clear();
    expect(replay.isEmpty).toBe(true);
  });

  it("takes no more than twice its bytes, however small its pieces are, and returns all", () => {
    const budget = new BufferBudget(131_072);
    const replay = new BufferedBody(budget, 65_536);
    for (let i = 0; i < 65_536; i++) replay.add(BYTE, 0, 1);
    expect(replay.isWhole).toBe(true);
    expect(replay.bytes.length).toBe(65_536);
    expect(new Set(replay.bytes)).toEqual(new Set(BYTE));
    replay.clear();
    expect(budget.take(131_072)).toBe(true);
  });

  it("is dropped beyond its bound and when the budget is used up; what could not be sent yet is kept all the same", () => {
    const small = new BufferedBody(new BufferBudget(1_000_000), 5);
    small.add(Buffer.from("abc"), 0, 3);
    small.add(Buffer.from("def"), 0, 3);
    expect([small.isWhole, small.isEmpty]).toEqual([false, true]);
    small.clear();
    small.hold(Buffer.from("abcdefg"), 0, 7);
    expect(small.isWhole).toBe(true);
    small.trim();
    expect([small.isWhole, small.isEmpty]).toEqual([false, true]);
    const spent = new BufferBudget(0);
    const replay = new BufferedBody(spent, 65_536);
    replay.add(BYTE, 0, 1);
    replay.add(BYTE, 0, 1);
    expect(replay.isWhole).toBe(false);
    replay.clear();
    replay.hold(BYTE, 0, 1);
    replay.hold(BYTE, 0, 1);
    expect(replay.bytes.length).toBe(2);
    replay.clear();
    expect(spent.take(0)).toBe(true);
  });
});

describe("a single piece of a body", () => {
  it("counts with the buffer that it keeps in memory, and is not kept when the budget is used up", () => {
    const budget = new BufferBudget(100_000);
    const [one, other] = [new BufferedBody(budget, 65_536), new BufferedBody(budget, 65_536)];
    const read = Buffer.alloc(60_000, "x");
    one.add(read, 10_000, 50_000);
    other.add(read, 10_000, 50_000);
    expect([one.isWhole, other.isWhole]).toEqual([true, false]);
    // It must not write into the buffer behind the piece, which others read.
    one.add(Buffer.from("more"), 0, 4);
    expect(read.toString("latin1", 50_000, 50_004)).toBe("xxxx");
    one.clear();
    expect(budget.take(100_000)).toBe(true);
  });

  it("that waits for an upstream is refused when the budget is used up, unless it was counted before", () => {
    const budget = new BufferBudget(500_000);
    const read = Buffer.alloc(400_000, "x");
    const [one, other] = [new BufferedBody(budget, 65_536), new BufferedBody(budget, 65_536)];
    expect(one.hold(read, 0, read.length)).toBe(true);
    expect(other.hold(read, 0, read.length)).toBe(false);
    expect(other.hold(read, 0, read.length, true)).toBe(true);
    one.trim();
    other.trim();
    expect(budget.take(500_000)).toBe(true);
  });
});

const MAX_BYTES = 100_000;

describe("a body that is held until it is complete", () => {
  it("has what was added, in its order, and takes no more from the budget than its bound", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 30 }), (pieces) => {
        const budget = new BufferBudget(2 * MAX_BYTES);
        const body = new CollectedBytes(budget, MAX_BYTES);
        const kept: Uint8Array[] = [];
        for (const piece of pieces) if (body.add(piece, 0, piece.length)) kept.push(piece);
        expect(Buffer.from(body.bytes).equals(Buffer.concat(kept))).toBe(true);
        expect(body.bytes.length).toBeLessThanOrEqual(MAX_BYTES);
        // Another body of the same size still has room, and after both are freed the whole budget is available.
        expect(budget.take(MAX_BYTES)).toBe(true);
        budget.give(MAX_BYTES);
        body.clear();
        expect(budget.take(2 * MAX_BYTES)).toBe(true);
      }),
    );
  });

  it("accepts nothing beyond its bound, or when the budget is used up, and keeps what it has", () => {
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
