/** When the memory of code that has run is freed. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Shrinker } from "./shrinker.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("shrinks once nothing happens any more, and again a minute later at the earliest", () => {
  const shrink = vi.fn();
  const shrinker = new Shrinker(shrink);
  const shrinksAfter = (seconds: number) => {
    vi.advanceTimersByTime(seconds * 1000);
    return shrink.mock.calls.length;
  };
  expect(shrinksAfter(100)).toBe(0);
  shrinker.note();
  expect(shrinksAfter(2)).toBe(0);
  shrinker.note();
  expect(shrinksAfter(2)).toBe(0);
  expect(shrinksAfter(1)).toBe(1);
  shrinker.note();
  expect(shrinksAfter(50)).toBe(1);
  expect(shrinksAfter(10)).toBe(2);
  expect(shrinksAfter(200)).toBe(2);
  shrinker.note();
  expect(shrinksAfter(3)).toBe(3);
});
