import { expect, it } from "vitest";
import { blocksOf } from "../shared/blocks.js";
import { checkFields, writeBlocks } from "./response-reader.js";

it.each([1, 20])(
  "leaves the others a turn although the next block of each of %i bodies is always ready",
  async (bodies) => {
    let written = 0;
    let atTurn = 0;
    setImmediate(() => {
      atTurn = written;
    });
    async function* blocks() {
      for (let i = 0; i < 5000; i++) yield Buffer.from("x");
    }
    const writer = {
      fit: (block: Uint8Array) => block,
      write: () => ++written > 0,
      drained: () => Promise.resolve(),
      hasten: () => {},
      endBody: () => {},
      failed: (error: unknown) => expect(error).toBeUndefined(),
    };
    await Promise.all(Array.from({ length: bodies }, () => writeBlocks(blocksOf(blocks()), writer, () => false)));
    expect(written).toBe(bodies * 5000);
    expect(atTurn).toBeGreaterThan(0);
    expect(atTurn).toBeLessThan(1000);
  },
);

it("a head that is too large names its limit", () => {
  const lines = (count: number) => Array.from({ length: count }, (_, n) => `x-${n}: 1\r\n`).join("");
  expect(() => checkFields(lines(240))).not.toThrow();
  expect(() => checkFields(lines(241))).toThrow("the response has 241 fields, more than the limit of 240");
  expect(() => checkFields(`a: ${"1".repeat(64_507)}\r\n`)).not.toThrow();
  expect(() => checkFields(`a: ${"1".repeat(64_508)}\r\n`)).toThrow("64513 bytes, more than the limit of 64512");
});
