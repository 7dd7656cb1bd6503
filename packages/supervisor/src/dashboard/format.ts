/** Formats numbers in few cells, and draws the last minute of a rate as a chart. */
import type { FigureValue, ScheduleStatus, Unit } from "../core/figures.js";

const EMPTY = "–";

/** Formats milliseconds in at most five cells: `0.04`, `0.4`, `12`, `123`, `1.2s`. */
export function milliseconds(ms: number | null): string {
  if (ms === null) return EMPTY;
  if (ms < 0.095) return ms.toFixed(2);
  if (ms < 9.95) return ms.toFixed(1);
  if (ms < 999.5) return ms.toFixed(0);
  return ms < 99_950 ? `${(ms / 1000).toFixed(1)}s` : `${Math.round(ms / 1000)}s`;
}

/** Returns `12,431`, and `123k` from a hundred thousand. */
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

/** Returns megabytes: `28.1`, and `1024` from a thousand. */
function megabytes(bytes: number | null): string {
  if (bytes === null) return EMPTY;
  const mb = bytes / 1e6;
  return mb < 999.95 ? mb.toFixed(1) : mb.toFixed(0);
}

/** Returns `231 MB` or `4.1 GB`. */
export function size(bytes: number): string {
  return bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Returns a percentage of one core. */
function percent(value: number | null): string {
  return value === null ? EMPTY : value.toFixed(0);
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

/** Returns a bar such as `▓▓▓▓▓░░░`. */
export function bar(done: number, total: number, width: number): string {
  const full = total <= 0 ? 0 : Math.min(width, Math.round((done / total) * width));
  return "▓".repeat(full) + "░".repeat(width - full);
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

/** A sample is taken from each status, about once a second. */
const SAMPLES = 60;
const BLOCKS = "▁▂▃▄▅▆▇█";

/** The newest sample is last; at most SAMPLES. */
export type History = readonly number[];

export function addSample(history: History, value: number): History {
  return [...history.slice(1 - SAMPLES), value];
}

export function peak(history: History): number {
  return history.reduce((highest, sample) => Math.max(highest, sample), 0);
}

/** Returns the widest chart of a whole minute in at most `width` cells, where each cell stands for the same number of seconds. */
export function sparklineWidth(width: number): number {
  return Math.ceil(SAMPLES / Math.max(1, Math.ceil(SAMPLES / Math.max(1, width))));
}

/**
 * Draws a chart of exactly `width` cells, with the newest at the right; `highest` fills a cell. `ticks` counts all samples ever
 * taken, so that a sample stays in its cell and the charts of all processes align in time. No traffic is blank, to tell it apart
 * from a little.
 */
export function sparkline(history: History, ticks: number, width: number, highest: number): string {
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
