/** Formats numbers in few cells, and draws the last minutes in a death's report. */
import type { FigureValue, ScheduleStatus, Unit } from "../core/figures.js";

const EMPTY = "–";

/** Formats milliseconds in at most five cells: `420µ` (microseconds), `1.8`, `12`, `123`, `1.2s`. */
export function milliseconds(ms: number | null): string {
  if (ms === null) return EMPTY;
  if (ms < 0.9995) return `${Math.round(1000 * ms)}µ`;
  if (ms < 9.95) return ms.toFixed(1);
  if (ms < 999.5) return ms.toFixed(0);
  return ms < 99_950 ? `${(ms / 1000).toFixed(1)}s` : `${Math.round(ms / 1000)}s`;
}

/** Returns `12,431`, and `123k` from a hundred thousand on. */
export function count(value: number | null): string {
  if (value === null) return EMPTY;
  const whole = Math.round(value);
  if (whole >= 99_999_500) return `${Math.round(whole / 1e6)}M`;
  if (whole >= 9_999_500) return `${(whole / 1e6).toFixed(1)}M`;
  return whole >= 100_000 ? `${Math.round(whole / 1000)}k` : thousands(whole);
}

/** Returns `1,234,567`. */
export function thousands(value: number): string {
  const digits = String(Math.round(value));
  return digits.length <= 3 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Returns a number per minute as one per second: `0`, `0.05`, `1.5`, `12`. */
export function perSecond(perMinute: number | null): string {
  if (perMinute === null) return EMPTY;
  const value = perMinute / 60;
  return value === 0 || value >= 9.95 ? value.toFixed(0) : value >= 0.095 ? value.toFixed(1) : value.toFixed(2);
}

/** Returns `420 µs`, `1.8 ms` or `1.2 s`. */
export function latency(ms: number | null): string {
  const text = milliseconds(ms);
  if (text === EMPTY) return text;
  if (text.endsWith("µ")) return `${text.slice(0, -1)} µs`;
  return text.endsWith("s") ? `${text.slice(0, -1)} s` : `${text} ms`;
}

/** Returns megabytes in few cells: `28.1`, `148`, `12.4G`. */
function megabytes(bytes: number | null): string {
  if (bytes === null) return EMPTY;
  const mb = bytes / 1e6;
  if (mb >= 9_999.5) return `${(mb / 1000).toFixed(mb < 99_950 ? 1 : 0)}G`;
  return mb < 99.95 ? mb.toFixed(1) : mb.toFixed(0);
}

/** Returns `231 MB` or `4.1 GB`. */
export function size(bytes: number): string {
  return bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Returns a percentage of one core. */
function percent(value: number | null): string {
  return value === null ? EMPTY : value.toFixed(0);
}

/** Returns the two largest units: `3d 4h`, `2m 5s`. */
export function longDuration(seconds: number): string {
  const units = [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const;
  const first = units.findIndex(([, each]) => seconds >= each);
  if (first < 0) return "0s";
  const [[unit, length], next] = [units[first] as (typeof units)[number], units[first + 1]];
  const rest = next === undefined ? 0 : Math.floor((seconds % length) / next[1]);
  return `${Math.floor(seconds / length)}${unit}${rest === 0 || next === undefined ? "" : ` ${rest}${next[0]}`}`;
}

/** Returns the largest unit: `4s`, `59m`, `23h`, `3d`. */
export function shortDuration(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

/** Returns the local time of day: `10:31:07`. */
export function clock(at: number): string {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** The formatters of table cells, by unit. */
const TEXTS: Record<Exclude<Unit, "jobs" | "schedule">, (value: number) => string> = {
  megabytes,
  percent,
  count,
  milliseconds,
  seconds: shortDuration,
};

/** Formats a figure's value. Jobs show their number and the age of the oldest: `1,200 6s`. */
export function inFewCells(value: FigureValue, unit: Unit): string {
  if (value === null) return EMPTY;
  if (typeof value === "number") return unit === "jobs" || unit === "schedule" ? count(value) : TEXTS[unit](value);
  if ("nextAt" in value) return scheduleText(value);
  return value.jobs === 0 ? "0" : `${count(value.jobs)} ${shortDuration(value.oldestMs / 1000)}`;
}

/** Returns `ok 2s, 4m`, `failed 2s, 4m` or `running 3s`. */
function scheduleText({ last, nextInSeconds, runningSeconds }: ScheduleStatus): string {
  if (runningSeconds !== null) return `running ${shortDuration(runningSeconds)}`;
  const next = nextInSeconds === null ? EMPTY : shortDuration(nextInSeconds);
  if (last === null) return next;
  return `${last.failure === null ? "ok" : "failed"} ${shortDuration(last.durationSeconds)}, ${next}`;
}

/** The number of samples in a report. */
const SAMPLES = 60;
const BLOCKS = "▁▂▃▄▅▆▇█";

/**
 * Draws a chart of exactly `width` cells, with the newest sample at the right; `highest` fills a cell. `ticks` counts all samples ever
 * taken, so that a sample stays in its cell and the charts of all processes are aligned in time. Zero is blank, to distinguish it from a
 * small value.
 */
export function sparkline(history: readonly number[], ticks: number, width: number, highest: number): string {
  const perCell = Math.max(1, Math.ceil(SAMPLES / Math.max(1, width)));
  const newest = Math.floor((ticks - 1) / perCell);
  const sums = new Float64Array(Math.max(0, width));
  const counts = new Uint8Array(sums.length);
  for (let at = 0; at < history.length; at++) {
    const cell = sums.length - 1 - (newest - Math.floor((ticks - history.length + at) / perCell));
    if (cell < 0) continue;
    sums[cell] = (sums[cell] ?? 0) + (history[at] ?? 0);
    counts[cell] = (counts[cell] ?? 0) + 1;
  }
  let picture = "";
  for (let cell = 0; cell < sums.length; cell++) {
    picture += block((sums[cell] ?? 0) / Math.max(1, counts[cell] ?? 0), highest);
  }
  return picture;
}

function block(value: number, highest: number): string {
  if (value <= 0 || highest <= 0) return " ";
  const level = Math.min(BLOCKS.length - 1, Math.floor((value / highest) * BLOCKS.length));
  return BLOCKS[level] ?? " ";
}
