/** Requests, instances and times are given: what an ideal queue would do, and who waited behind a busy instance in vain. */
import { expect, test } from "vitest";
import { idealLatencies, waitedInVain } from "./waits.mjs";

test.each([
  ["one server", [0, 1, 20], [5, 5, 5], 1, [5, 9, 5]],
  ["two servers", [0, 1, 2], [5, 5, 5], 2, [5, 5, 8]],
  ["who is free first gets the next", [0, 0, 1, 2], [32, 2, 2, 2], 2, [32, 2, 3, 4]],
])("an ideal queue: %s", (_, due, took, servers, expected) => {
  expect(idealLatencies(due, took, servers)).toEqual(expected);
});

/** Instance 1 computes from 0 to 32, and then for the request that has waited since 5. */
const behind = (ready = [[5, 32]]) => [
  { instance: 1, there: [0, 32], computed: [0, 32], ready: [] },
  { instance: 1, there: [2, 34], computed: [32, 34], ready },
];
const other = (instance, ...there) => ({ instance, there, computed: there, ready: [] });

test.each([
  ["beside a free instance", behind(), 2, true],
  ["beside a busy one", [...behind(), other(2, 0, 32)], 2, false],
  ["beside one that becomes free", [...behind(), other(2, 0, 29)], 2, true],
  ["beside one that is free for a moment", [...behind(), other(2, 0, 31)], 2, false],
  ["beside one with several at once", [...behind(), other(2, 0, 32), other(2, 4, 20)], 2, false],
  ["beside several moments", [...behind(), other(2, 0, 10), other(2, 11, 20), other(2, 21, 31)], 2, true],
  ["beside one of three", [...behind(), other(2, 0, 32)], 3, true],
  ["beside three that are busy in turn", [...behind(), other(2, 0, 20), other(3, 20, 32)], 3, true],
  ["for a moment", behind([[31, 32]]), 2, false],
  // biome-ignore format: pairs
  ["for moments", behind([[5, 6], [30, 31.5]]), 2, true],
  [
    "while its own instance computed nothing",
    [{ instance: 1, there: [29, 32], computed: [30, 32], ready: [[0, 30]] }],
    2,
    false,
  ],
])("whether a request waited in vain: %s", (_, requests, instances, expected) => {
  const found = waitedInVain(requests, instances, 2);
  expect(found).toEqual(expected ? [requests[1]] : []);
});
