/** A blocked event loop shows. */
import { afterEach, describe, expect, it } from "vitest";
import { LoopLag } from "./loop-lag.js";

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe("LoopLag", () => {
  let lag: LoopLag;
  afterEach(() => lag.stop());

  it("sees a block that is still going on when it is asked", () => {
    lag = new LoopLag(10);
    block(100);
    expect(lag.takeMs()).toBeGreaterThanOrEqual(90);
  });

  it("sees a block that is over, once", async () => {
    lag = new LoopLag(10);
    block(150);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(lag.takeMs()).toBeGreaterThanOrEqual(140);
    expect(lag.takeMs()).toBeLessThan(140);
  });

  it("is never below zero", () => {
    lag = new LoopLag(10_000);
    expect(lag.takeMs()).toBe(0);
  });
});
