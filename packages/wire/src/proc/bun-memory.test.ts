import { expect, it } from "vitest";
import { free, giveBack } from "./bun-memory.js";

it.each([
  ["a large buffer", new Uint8Array(65_536), 0],
  ["all of a large buffer with a part of it", new Uint8Array(65_536).subarray(100, 200), 0],
  ["no small buffer", new Uint8Array(100), 100],
  ["no buffer that others share", Buffer.from("a few bytes"), Buffer.poolSize],
])("gives back %s", (_, bytes, left) => {
  giveBack(bytes);
  expect(bytes.buffer.byteLength).toBe(left);
});

it("frees any buffer", () => {
  const bytes = new Uint8Array(100);
  free(bytes);
  expect([bytes.length, bytes.buffer.byteLength]).toEqual([0, 0]);
});
