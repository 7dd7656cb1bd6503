import type { RunningWork } from "@paceline/wire/lane/scoreboard";
import { describe, expect, it } from "vitest";
import { decideOnStalled, lossAtEnd } from "./stream-table.js";

const sent = (...sequences: number[]) => sequences.map((sequence) => ({ sequence, isAnnounced: false }));

describe("the requests of a stalled instance", () => {
  const cases: [string, RunningWork | undefined, boolean, number[], string[]][] = [
    [
      "that one stays whose handler it calls, and one that it has called before waits for something",
      { on: "ours", started: 6, request: 6 },
      false,
      [5, 6, 7],
      ["uncertain", "stays", "behindStalled"],
    ],
    [
      "those not called are free of the request of another lane",
      { on: "another", started: 6 },
      false,
      [5, 6, 7],
      ["uncertain", "uncertain", "behindStalled"],
    ],
    ["what it has called has begun", { on: "none", started: 6 }, false, [5, 6, 7], ["stays", "stays", "behindStalled"]],
    [
      "one that was never called is free",
      { on: "none", started: 0 },
      false,
      [1, 2],
      ["behindStalled", "behindStalled"],
    ],
    ["numbers wrap around", { on: "none", started: 1 }, false, [2 ** 32 - 1, 2 ** 32 + 2], ["stays", "behindStalled"]],
    ["without a mark it is the oldest", undefined, false, [5, 6, 7], ["stays", "uncertain", "uncertain"]],
    ["or none of these, when another was said to begin", undefined, true, [5, 6], ["uncertain", "uncertain"]],
  ];
  it.each(cases)("%s", (_, work, isSaid, sequences, decisions) => {
    expect(decideOnStalled(sent(...sequences), work, isSaid)).toEqual(decisions);
  });

  it("without a mark no request stays that would have been announced", () => {
    const requests = [{ sequence: 1, isAnnounced: true }, ...sent(2, 3)];
    expect(decideOnStalled(requests, undefined, false)).toEqual(["uncertain", "stays", "uncertain"]);
  });
});

describe("the requests of an instance that ended", () => {
  const [plain, announced] = [false, true];
  const cases: [
    string,
    sequence: number,
    isAnnounced: boolean,
    hasStarted: boolean,
    RunningWork | undefined,
    string,
    boolean?,
  ][] = [
    ["not sent", 0, plain, false, undefined, "notStarted"],
    ["announced, and its start was not heard", 3, announced, false, undefined, "notStarted"],
    ["announced, and its start was heard", 3, announced, true, undefined, "closed"],
    ["without a mark it may have started", 3, plain, false, undefined, "closed"],
    ["without a mark, and the client of another one has gone", 3, plain, false, undefined, "behindAbandoned", true],
    ["never called", 3, plain, false, { on: "ours", started: 2, request: 2 }, "notStarted"],
    ["never called, while another lane's was", 3, plain, false, { on: "another", started: 2 }, "notStarted"],
    ["the one that was being called", 3, plain, false, { on: "ours", started: 3, request: 3 }, "fatal"],
    ["a POST that was being called", 3, announced, true, { on: "ours", started: 3, request: 3 }, "fatal"],
    [
      "called before the one that was being called",
      2,
      plain,
      true,
      { on: "ours", started: 3, request: 3 },
      "bystander",
    ],
    ["called, while another lane's was being called", 2, plain, false, { on: "another", started: 3 }, "bystander"],
    ["called, while none was", 2, plain, false, { on: "none", started: 3 }, "closed"],
  ];
  it.each(cases)("%s", (_, sequence, isAnnounced, hasStarted, work, loss, isBehind) => {
    expect(lossAtEnd({ sequence, isAnnounced, hasStarted }, work, isBehind)).toBe(loss);
  });
});
