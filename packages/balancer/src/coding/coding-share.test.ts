/** How many bytes are compressed in one turn, and which bodies wait for the next turn. */
import { expect, it } from "vitest";
import { type CodedReader, CodingShare } from "./coding-share.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));

function bench() {
  const share = new CodingShare();
  const had: string[] = [];
  const reader = (name: string, batchBytes: number): CodedReader => ({
    batchBytes,
    onCodingTurn: () => void had.push(name),
  });
  return { share, had, reader };
}

it("in each turn, continues with those that have waited longest: as many as fit, but at least one", async () => {
  const { share, had, reader } = bench();
  const sizes = [65_536, 65_536, 65_536, 8192, 8192, 524_288, 65_536];
  const readers = sizes.map((size, at) => reader(String(at), size));
  expect(readers.map((each) => share.take(each))).toEqual([true, false, false, false, false, false, false]);
  const turns: string[] = [];
  for (let n = 0; n < 5; n++) {
    await turn();
    turns.push(had.splice(0).join());
  }
  expect(turns).toEqual(["1,2", "3,4", "5", "6", ""]);
  expect(share.take(reader("later", 65_536))).toBe(true);
});

it("lets a new large body wait behind those that wait, but never one with events, or one without bytes", async () => {
  const { share, had, reader } = bench();
  const [large, other] = [reader("large", 524_288), reader("other", 524_288)];
  expect([large, other, reader("events", 100), reader("none", 0)].map((each) => share.take(each))).toEqual([
    ...[false, false, true, true],
  ]);
  await turn();
  expect(had).toEqual(["large"]);
  expect(share.take(reader("new", 8192))).toBe(false);
  await turn();
  expect(had).toEqual(["large", "other"]);
});

it("also counts bytes that cannot wait, in the turn in which they were compressed", async () => {
  const { share, had, reader } = bench();
  share.count(0);
  share.count(131_072);
  expect([reader("events", 100), reader("large", 8192)].map((each) => share.take(each))).toEqual([true, false]);
  await turn();
  expect(had).toEqual(["large"]);
  expect(share.take(reader("later", 8192))).toBe(true);
});

it("forgets a finished body", async () => {
  const { share, had, reader } = bench();
  const ended = reader("ended", 524_288);
  share.take(ended);
  share.leave(ended);
  await turn();
  expect(had).toEqual([]);
});
