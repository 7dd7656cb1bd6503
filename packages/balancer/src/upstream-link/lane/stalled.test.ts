import { describe, expect, it } from "vitest";
import { fatesOf } from "./stalled.js";
import type { WorkAtHand } from "./work-mark.js";

const sent = (...sequences: number[]) => sequences.map((sequence) => ({ sequence, isAnnounced: false }));

describe("the requests of a stalled instance", () => {
  const cases: [string, WorkAtHand | undefined, boolean, number[], string[]][] = [
    [
      "that one stays whose handler it calls",
      { on: "ours", request: 6 },
      false,
      [5, 6, 7],
      ["freed", "stays", "freed"],
    ],
    ["all are free of the request of another lane", { on: "another" }, false, [5, 6], ["freed", "freed"]],
    ["what it has called has begun", { on: "none", called: 6 }, false, [5, 6, 7], ["stays", "stays", "freed"]],
    ["one that was never called is free", { on: "none", called: 0 }, false, [1, 2], ["freed", "freed"]],
    ["numbers wrap around", { on: "none", called: 1 }, false, [2 ** 32 - 1, 2 ** 32 + 2], ["stays", "freed"]],
    ["without a mark it is the oldest", undefined, false, [5, 6, 7], ["stays", "suspect", "suspect"]],
    ["or none of these, when another was said to begin", undefined, true, [5, 6], ["suspect", "suspect"]],
  ];
  it.each(cases)("%s", (_, work, isSaid, sequences, fates) => {
    expect(fatesOf(sent(...sequences), work, isSaid)).toEqual(fates);
  });

  it("without a mark none stays that would have been announced", () => {
    const requests = [{ sequence: 1, isAnnounced: true }, ...sent(2, 3)];
    expect(fatesOf(requests, undefined, false)).toEqual(["suspect", "stays", "suspect"]);
  });
});
