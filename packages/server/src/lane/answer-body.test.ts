import { expect, it } from "vitest";
import { blocksOf, writeBlocks } from "./answer-body.js";

it("leaves the others a turn though its next block is always ready", async () => {
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
    endBody: () => {},
    failed: (error: unknown) => expect(error).toBeUndefined(),
  };
  await writeBlocks(blocksOf(blocks()), writer, () => false);
  expect(written).toBe(5000);
  expect(atTurn).toBeGreaterThan(0);
  expect(atTurn).toBeLessThan(1000);
});
