import { afterEach, describe, expect, it, test, vi } from "vitest";
import { descriptorLimit, heapBytes, LoopLag, maxSockets, rssBytes } from "./own-process.js";

const { memoryUsage } = process;
afterEach(() => {
  process.memoryUsage = memoryUsage;
});

test("memory that cannot be read stays at its last value", () => {
  const before = { heap: heapBytes(), rss: rssBytes() };
  expect(before.heap).toBeGreaterThan(0);
  expect(before.rss).toBeGreaterThan(0);
  const throws = Object.assign(
    () => {
      throw new Error("EMFILE: too many open files, uv_resident_set_memory");
    },
    { rss: () => throws() },
  );
  process.memoryUsage = throws as never;
  expect({ heap: heapBytes(), rss: rssBytes() }).toEqual(before);
});

test.each([
  [64, 32],
  [128, 80],
  [1024, 896],
  [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
])("of %d descriptors, sockets may use %d", (descriptors, sockets) => {
  expect(maxSockets(descriptors)).toBe(sockets);
});

test("the limit of descriptors is that of this process", () => {
  const limit = descriptorLimit();
  if (process.platform === "linux") expect(Number.isInteger(limit)).toBe(true);
  expect(limit).toBeGreaterThan(10);
});

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe("LoopLag", () => {
  let lag: LoopLag;
  afterEach(() => lag.stop());

  it("detects a block that is still in progress", () => {
    lag = new LoopLag(10);
    block(100);
    expect(lag.takeMs()).toBeGreaterThanOrEqual(90);
  });

  it("detects a finished block once", () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    let now = 1000;
    vi.spyOn(performance, "now").mockImplementation(() => now);
    try {
      lag = new LoopLag(10);
      now += 150;
      // After the block, the timer fires late.
      vi.advanceTimersToNextTimer();
      now += 5;
      expect(lag.takeMs()).toBe(140);
      expect(lag.takeMs()).toBe(0);
    } finally {
      lag.stop();
      vi.restoreAllMocks();
      vi.useRealTimers();
    }
  });

  it("is never below zero", () => {
    lag = new LoopLag(10_000);
    expect(lag.takeMs()).toBe(0);
  });
});
