import { afterEach, expect, test } from "vitest";
import { descriptorLimit, heapBytes, maxSockets, rssBytes } from "./own-resources.js";

const { memoryUsage } = process;
afterEach(() => {
  process.memoryUsage = memoryUsage;
});

test("memory that cannot be asked for is what it was before", () => {
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
])("of %d descriptors, sockets may take %d", (descriptors, sockets) => {
  expect(maxSockets(descriptors)).toBe(sockets);
});

test("the limit of descriptors is that of this process", () => {
  const limit = descriptorLimit();
  if (process.platform === "linux") expect(Number.isInteger(limit)).toBe(true);
  expect(limit).toBeGreaterThan(10);
});
