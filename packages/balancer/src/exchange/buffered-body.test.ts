import { describe, expect, it } from "vitest";
import { BufferBudget } from "./buffer-budget.js";
import { BufferedBody } from "./buffered-body.js";

const BYTE = Buffer.from("x");

describe("what is kept of a body to be sent again", () => {
  it("is one piece where it came, and joined when more comes", () => {
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

  it("takes no more than twice its bytes, however small its pieces are, and gives all back", () => {
    const budget = new BufferBudget(131_072);
    const replay = new BufferedBody(budget, 65_536);
    for (let i = 0; i < 65_536; i++) replay.add(BYTE, 0, 1);
    expect(replay.isWhole).toBe(true);
    expect(replay.bytes.length).toBe(65_536);
    expect(new Set(replay.bytes)).toEqual(new Set(BYTE));
    replay.clear();
    expect(budget.take(131_072)).toBe(true);
  });

  it("is dropped past its bound and when the budget is spent; what could not be sent yet is kept all the same", () => {
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
