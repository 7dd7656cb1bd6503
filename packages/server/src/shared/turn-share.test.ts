/** The share of a turn that endless bodies and WebSocket frames have together. */
import { expect, it, vi } from "vitest";
import { isTurnOver, nextShare } from "./turn-share.js";

it("continues in the next turn, and after a rest if several turns were used up", async () => {
  const waits: string[] = [];
  const as = (what: string) => (callback: () => void) => {
    waits.push(what);
    queueMicrotask(callback);
    return {} as never;
  };
  /** Only the timers that this call sets are replaced; others are set as usual. */
  const next = () => {
    const turn = vi.spyOn(globalThis, "setImmediate").mockImplementation(as("turn") as never);
    const rest = vi.spyOn(globalThis, "setTimeout").mockImplementation(as("rest") as never);
    const share = nextShare();
    turn.mockRestore();
    rest.mockRestore();
    return share;
  };
  let blocks = 0;
  // Other tests may have used up turns before.
  while (waits.indexOf("rest") < 0 || waits.length - waits.indexOf("rest") <= 16) {
    blocks++;
    if (isTurnOver()) await next();
  }
  const eight = [...Array<string>(7).fill("turn"), "rest"];
  expect(waits.slice(waits.indexOf("rest") + 1)).toEqual([...eight, ...eight]);
  expect(blocks).toBeLessThan(25 * 500);
});
