/** Decides what a schedule does at each look at the clock: run, skip, give up a missed time, or wait. Pure. */
import type { CronTimes } from "@paceline/wire/cron";

/** A run that begins later than this after its time counts as missed: the machine slept, or its clock was set. */
const LATEST_START_MS = 60_000;
/** The clock is looked at this often at least, since a timer does not advance while the machine sleeps. */
export const LONGEST_WAIT_MS = 30_000;

export interface ScheduleState {
  /** When the next run is due, as Unix time in milliseconds; null if no run ever is. */
  readonly due: number | null;
  /** The clock at the last look. */
  readonly seenAt: number;
}

export interface Look {
  readonly state: ScheduleState;
  /** What is due at `at` and from now on: its run begins, is skipped because the last one has not ended, or was missed. */
  readonly action: { readonly type: "run" | "skip" | "miss"; readonly at: number } | null;
  /** When to look again, in milliseconds; null: never. */
  readonly waitMs: number | null;
}

export function startSchedule(times: CronTimes, now: number): ScheduleState {
  return { due: times.next(now), seenAt: now };
}

/** Looks at the clock. Of several times that have passed since the last look, only the first counts. */
export function look(state: ScheduleState, times: CronTimes, now: number, isRunning: boolean): Look {
  const { due } = state;
  if (due === null) return { state, action: null, waitMs: null };
  if (now < due) {
    // A clock that was set back has other times before it.
    const isSetBack = now < state.seenAt - LATEST_START_MS;
    const next = isSetBack ? times.next(now) : due;
    return { state: { due: next, seenAt: now }, action: null, waitMs: waitFor(next, now) };
  }
  const next = times.next(now);
  const type = now - due > LATEST_START_MS ? "miss" : isRunning ? "skip" : "run";
  return { state: { due: next, seenAt: now }, action: { type, at: due }, waitMs: waitFor(next, now) };
}

function waitFor(due: number | null, now: number): number | null {
  return due === null ? null : Math.min(Math.max(0, due - now), LONGEST_WAIT_MS);
}
