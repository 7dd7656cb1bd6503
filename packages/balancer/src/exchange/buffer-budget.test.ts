import { describe, expect, it, vi } from "vitest";
import { BufferBudget, type Reader } from "./buffer-budget.js";

const MB = 1 << 20;

/** A client that requests room at each notification, like `ClientReading`. */
class WaitingReader implements Reader {
  asked = 0;
  isRead = false;

  constructor(private readonly budget: BufferBudget) {}

  ask(): boolean {
    this.asked++;
    this.isRead = this.budget.mayRead(this);
    return this.isRead;
  }

  onRoom(): boolean {
    return this.ask();
  }
}

const turns = async (count: number): Promise<void> => {
  for (let n = 0; n < count; n++) await new Promise((resolve) => void setImmediate(resolve));
};

describe("clients that wait for room", () => {
  it("are notified when there is some, and cost nothing until then", async () => {
    const budget = new BufferBudget(4 * MB);
    expect(budget.take(3 * MB)).toBe(true);
    const readers = [1, 2, 3].map(() => new WaitingReader(budget));
    const immediates = vi.spyOn(globalThis, "setImmediate");
    for (const reader of readers) reader.ask();
    expect(immediates).not.toHaveBeenCalled();
    immediates.mockRestore();
    await turns(20);
    expect(readers.map(({ asked }) => asked)).toEqual([1, 1, 1]);
    budget.give(3 * MB);
    await turns(5);
    expect(readers.map(({ isRead }) => isRead)).toEqual([true, true, true]);
  });

  it("are notified after each turn in which others were read, until all have been", async () => {
    const budget = new BufferBudget(2 * MB);
    const readers = Array.from({ length: 9 }, () => new WaitingReader(budget));
    for (const reader of readers) reader.ask();
    expect(readers.filter(({ isRead }) => isRead)).toHaveLength(2);
    await turns(30);
    expect(readers.every(({ isRead }) => isRead)).toBe(true);
  });
});
