/** Formats numbers, times and states in few characters. Pure. */
import type { FigureValue, ScheduleStatus, Unit } from "../core/figures.js";

/** Shown for an unknown value, which is never zero. */
export const NONE = "–";

type Maybe = number | null | undefined;

/** Returns `1,234,567`; below ten with one decimal. */
export function number(value: Maybe): string {
  if (value == null) return NONE;
  if (value > 0 && value < 9.95) return String(Math.round(value * 10) / 10);
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Returns `12.4k` and `3.1M` where there is little room. */
export function short(value: Maybe): string {
  if (value == null || value < 99_950) return number(value);
  return value < 999_500 ? `${Math.round(value / 1000)}k` : `${(value / 1e6).toFixed(value < 9.95e6 ? 1 : 0)}M`;
}

/** Returns milliseconds with their unit: `340 µs`, `1.8 ms`, `22 ms`, `1.4 s`. */
export function duration(ms: Maybe): string {
  if (ms == null) return NONE;
  if (ms < 0.9995) return `${Math.round(ms * 1000)} µs`;
  if (ms < 999.5) return `${ms < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return ms < 59_950 ? `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s` : age(ms / 1000);
}

/** Returns megabytes of 10^6 bytes. */
export function megabytes(bytes: Maybe): string {
  if (bytes == null) return NONE;
  const mb = bytes / 1e6;
  return mb < 99.95 ? mb.toFixed(1) : number(mb);
}

/** Returns the largest unit: `4 s`, `59 min`, `23 h`, `3 d`. */
export function age(seconds: Maybe): string {
  if (seconds == null) return NONE;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/** Returns the local time of day: `10:31:07`; with the date if it is more than a day ago. */
export function clock(at: number, now = at): string {
  const date = new Date(at);
  const two = (part: number) => String(part).padStart(2, "0");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  const isOld = now - at > 86_400_000;
  return isOld ? `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}` : time;
}

/** Returns a share of all: `31 %`, `0.4 %`. */
export function percent(part: number, all: number): string {
  if (all === 0 || part === 0) return NONE;
  const share = (100 * part) / all;
  return `${share < 0.095 ? "< 0.1" : share < 9.95 ? share.toFixed(1) : Math.round(share)} %`;
}

const TEXTS: Record<Exclude<Unit, "jobs" | "schedule">, (value: number) => string> = {
  megabytes,
  percent: number,
  count: short,
  milliseconds: duration,
  seconds: age,
};

/** Formats the value of a figure. */
export function figure(value: FigureValue, unit: Unit): string {
  if (value === null) return NONE;
  if (typeof value === "number") return unit === "jobs" || unit === "schedule" ? short(value) : TEXTS[unit](value);
  if ("nextAt" in value) return schedule(value);
  return value.jobs === 0 ? "0" : `${short(value.jobs)}, oldest ${age(value.oldestMs / 1000)}`;
}

function schedule({ last, nextInSeconds, runningSeconds }: ScheduleStatus): string {
  if (runningSeconds !== null) return `running ${age(runningSeconds)}`;
  const next = nextInSeconds === null ? NONE : `next in ${age(nextInSeconds)}`;
  if (last === null) return next;
  return `${last.failure === null ? "ok" : "failed"} ${age(last.durationSeconds)}, ${next}`;
}

/** The colour and the sign of a state; each is also shown as a word. */
export type Tone = "good" | "busy" | "bad" | "canary" | "plain";

export function toneOf(state: string): Tone {
  switch (state) {
    case "ready":
    case "pass":
    case "done":
      return "good";
    case "backoff":
    case "failed":
    case "killing":
    case "fail":
    case "error":
      return "bad";
    case "canary":
      return "canary";
    case "starting":
    case "draining":
    case "drained":
    case "ejected":
    case "stalled":
    case "wait":
    case "warn":
    case "under way":
      return "busy";
    default:
      return "plain";
  }
}
