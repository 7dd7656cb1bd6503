/** Which requests of a busy instance are moved, and that no request is moved that may have started. */
import type { RunningWork } from "@paceline/wire/lane/scoreboard";
import { describe, expect, it } from "vitest";
import { SentAtTicks, waitingFor } from "./lane-stalls.js";

const sent = (...sequences: number[]) => sequences.map((sequence) => ({ sequence, isIdempotent: true }));

describe("requests that wait at a busy instance", () => {
  it.each<[what: string, work: RunningWork | undefined, sequences: number[], upTo: number, moved: number[]]>([
    [
      "those behind the running one move, if they are old",
      { on: "ours", started: 6, request: 6 },
      [6, 7, 8, 9],
      8,
      [7, 8],
    ],
    ["one that was called before stays", { on: "ours", started: 6, request: 6 }, [4, 6, 7], 9, [7]],
    ["those behind a request of another lane move", { on: "another", started: 6 }, [5, 7], 9, [7]],
    ["without a running handler all stay", { on: "none", started: 0 }, [1, 2], 9, []],
    ["without a scoreboard all stay", undefined, [1, 2], 9, []],
    [
      "numbers wrap around",
      { on: "another", started: 2 ** 32 - 2 },
      [2 ** 32 - 1, 2 ** 32 + 1, 2 ** 32 + 5],
      2,
      [2 ** 32 - 1, 2 ** 32 + 1],
    ],
  ])("%s", (_what, work, sequences, upTo, moved) => {
    expect(waitingFor(sent(...sequences), work, upTo).map(({ sequence }) => sequence)).toEqual(moved);
  });

  it("never moves a request that may not be sent twice", () => {
    const requests = [{ sequence: 7, isIdempotent: false }];
    expect(waitingFor(requests, { on: "ours", started: 6, request: 6 }, 9)).toEqual([]);
  });
});

it("knows how many requests had been sent a given number of ticks ago, and nothing about earlier lanes", () => {
  const ticks = new SentAtTicks();
  expect(ticks.before(0)).toBe(0);
  for (let sequence = 1; sequence <= 200; sequence++) ticks.tick(sequence);
  expect([0, 2, 63, 64].map((ago) => ticks.before(ago))).toEqual([200, 198, 137, 0]);
  ticks.clear();
  ticks.tick(3);
  expect([0, 1].map((ago) => ticks.before(ago))).toEqual([3, 0]);
});
