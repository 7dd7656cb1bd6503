import { expect, it } from "vitest";
import { blocksOf } from "../shared/blocks.js";
import { writeBlocks } from "./response-reader.js";

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
