/** What a schedule does at each check of a clock that the test sets. */
import { readCron } from "@paceline/wire/cron";
import { expect, test } from "vitest";
import { LONGEST_WAIT_MS, look, startSchedule } from "./schedule-shim.js";

const at = (text: string) => Date.parse(`2026-03-${text}Z`);

function timesOf(pattern: string, timezone = "UTC") {
  const times = readCron(pattern, timezone);
  if ("problem" in times) throw new Error(times.problem);
  return times;
}

interface Step {
  now: string;
  /** Whether a run has not ended. */
  running?: boolean;
  does: string;
}

/** Runs checks at these times; each returns what the schedule does, and the next due time. */
function play(pattern: string, start: string, steps: Step[], timezone?: string): string[] {
  const times = timesOf(pattern, timezone);
  let state = startSchedule(times, at(start));
  return steps.map(({ now, running = false }) => {
    const seen = look(state, times, at(now), running);
    state = seen.state;
    const done =
      seen.action === null ? "waits" : `${seen.action.type} ${new Date(seen.action.at).toISOString().slice(11, 19)}`;
    return `${done}, next ${state.due === null ? "never" : new Date(state.due).toISOString().slice(8, 19)}`;
  });
}

test.each<[string, string, string, Step[]]>([
  [
    "runs once at each time, however late within a minute",
    "*/5 * * * *",
    "10T12:01:00",
    [
      { now: "10T12:04:59", does: "waits, next 10T12:05:00" },
      { now: "10T12:05:00", does: "run 12:05:00, next 10T12:10:00" },
      { now: "10T12:05:01", does: "waits, next 10T12:10:00" },
      { now: "10T12:10:59", does: "run 12:10:00, next 10T12:15:00" },
    ],
  ],
  [
    "skips a time while a run has not ended",
    "*/5 * * * *",
    "10T12:01:00",
    [
      { now: "10T12:05:00", running: true, does: "skip 12:05:00, next 10T12:10:00" },
      { now: "10T12:10:00", does: "run 12:10:00, next 10T12:15:00" },
    ],
  ],
  [
    "gives up a time that passed while the machine slept, and all up to now",
    "*/5 * * * *",
    "10T12:01:00",
    [
      { now: "10T13:07:00", does: "miss 12:05:00, next 10T13:10:00" },
      { now: "10T13:10:00", does: "run 13:10:00, next 10T13:15:00" },
    ],
  ],
  [
    "of seconds that passed during a delay runs once",
    "* * * * * *",
    "10T12:00:00",
    [{ now: "10T12:00:07", does: "run 12:00:01, next 10T12:00:08" }],
  ],
  [
    "does not run a time again when the clock is set back a little, and follows a clock that is set back far",
    "0 * * * *",
    "10T12:30:00",
    [
      { now: "10T13:00:00", does: "run 13:00:00, next 10T14:00:00" },
      { now: "10T12:59:30", does: "waits, next 10T14:00:00" },
      { now: "10T09:10:00", does: "waits, next 10T10:00:00" },
    ],
  ],
])("%s", (_what, pattern, start, steps) => {
  expect(play(pattern, start, steps)).toEqual(steps.map(({ does }) => does));
});

test("a time zone shifts the times, and so does its daylight saving time", () => {
  const next = (start: string) => play("0 3 * * *", start, [{ now: start, does: "" }], "Europe/Berlin")[0];
  expect(next("10T12:00:00")).toBe("waits, next 11T02:00:00");
  expect(next("29T12:00:00")).toBe("waits, next 30T01:00:00");
});

test.each([
  ["the hour that spring leaves out", "2026-03-29T00:00:00Z", ["2026-03-29T01:00:00", "2026-03-30T00:30:00"]],
  ["the hour that autumn has twice", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00", "2026-10-26T01:30:00"]],
])("a run at a fixed time happens once in %s", (_what, start, expected) => {
  const times = timesOf("30 2 * * *", "Europe/Berlin");
  const first = times.next(Date.parse(start)) ?? 0;
  const found = [first, times.next(first) ?? 0].map((time) => new Date(time).toISOString().slice(0, 19));
  expect(found).toEqual(expected);
});

test("checks the clock often enough to detect a suspend, exactly at the due time, and never again without a due time", () => {
  const times = timesOf("0 * * * *");
  const state = startSchedule(times, at("10T12:30:00"));
  expect(look(state, times, at("10T12:30:00"), false).waitMs).toBe(LONGEST_WAIT_MS);
  expect(look(state, times, at("10T12:59:58"), false).waitMs).toBe(2000);
  expect(look({ due: null, seenAt: 0 }, times, at("10T12:30:00"), false)).toMatchObject({ action: null, waitMs: null });
});

test.each([
  [
    "61 * * * *",
    undefined,
    'must be a cron pattern such as "*/5 * * * *", not "61 * * * *": Invalid value for minute: 61',
  ],
  ["2027-01-01T00:00:00", undefined, '"2027-01-01T00:00:00": it has five fields, or six with seconds in front'],
  ["0 0 0 1 1 * 2030", undefined, '"0 0 0 1 1 * 2030": it has five fields, or six with seconds in front'],
  ["@sometimes", undefined, 'must be a cron pattern such as "*/5 * * * *", not "@sometimes"'],
  ["* * * * *", "Mars/Olympus", 'there is no time zone "Mars/Olympus"'],
])("%j in %s is rejected", (pattern, timezone, problem) => {
  const read = readCron(pattern, timezone);
  expect("problem" in read && read.problem).toContain(problem);
});

test("a name stands for a pattern, and a day that never comes has no time", () => {
  expect(timesOf("@daily").next(at("10T12:00:00"))).toBe(at("11T00:00:00"));
  expect(timesOf("0 0 30 2 *").next(at("10T12:00:00"))).toBeNull();
});
