/** What is sent again from a recording. */
import { expect, test } from "vitest";
import { resumedFrom } from "./load.js";
import { headLine, readRecording, recordedLine } from "./recording.js";

const entry = (atMs: number, method: string, path: string) =>
  recordedLine({ atMs, method, path, status: 200, bytes: 3, ms: 1 });

test("requests without a body are sent again, in order and from zero", () => {
  const text = [
    headLine(5),
    entry(300, "GET", "/b"),
    entry(100, "GET", "/a"),
    entry(200, "POST", "/c"),
    entry(250, "GET", "/x/*"),
  ];
  expect(readRecording(text.join(""), "shop.test")).toEqual({
    entries: [
      { atMs: 0, ask: { method: "GET", path: "/a", host: "shop.test" } },
      { atMs: 200, ask: { method: "GET", path: "/b", host: "shop.test" } },
    ],
    lengthMs: 300,
    skipped: 2,
  });
  // A full disk has cut off the end.
  const cut = readRecording(`${text.join("")}{"atMs":40`, "x");
  expect("entries" in cut && cut.entries.length).toBe(2);
});

test.each([
  ["", "is no recording"],
  ["{}\n", "is no recording"],
  ['{"paceline":"recording","version":2}\n', "another version"],
  [`${headLine(0)}{"atMs":"x"}\n${entry(1, "GET", "/")}`, "line 2"],
  [`${headLine(0)}${entry(1, "POST", "/")}`, "no GET"],
])("%# is rejected", (text, problem) => {
  expect(readRecording(text, "x")).toEqual({ problem: expect.stringContaining(problem) });
});

test("a phase continues the recording where the last one was, without waiting for the beginning", () => {
  const ask = { method: "GET", path: "/", host: "x" };
  const replayed = { entries: [0, 200, 90_000].map((atMs) => ({ atMs, ask })), lengthMs: 95_000, skipped: 0 };
  // The next request is due now, and the one after it by the distance between them.
  expect([0, 1, 2].map((at) => resumedFrom(replayed, at, 1_000_000))).toEqual([1_000_000, 999_800, 910_000]);
  expect(resumedFrom(undefined, 0, 5)).toBe(5);
});
