/** Shows what needs attention, as the supervisor has decided: for the fleet, and for one row. Pure. */
import type { InstanceStatus, Status } from "../control/api.js";
import type { Attention } from "../core/attention.js";
import type { Mark } from "../core/marks.js";
import { count, latency, longDuration, shortDuration, size } from "./format.js";
import type { Model } from "./model.js";
import { poolOf } from "./rows.js";
import type { Subject } from "./subject.js";
import { clean, fitLine, type Line, lineWidth, segment, wrap } from "./text.js";

/** The minimum width for the evidence; with less room it is left out. */
const LEAST_EVIDENCE = 12;

/** Returns up to `most` lines: what is wrong, and its first evidence if there is room. */
export function troubleLines(troubles: readonly Attention[], width: number, most: number): Line[] {
  return troubles.slice(0, most).map(({ severity, what, evidence: [evidence = ""] }) => {
    const isFault = severity === "fault";
    const line = [segment(` ${isFault ? "✗" : "!"} ${clean(what)}`, isFault ? "bad" : "warn")];
    const hasRoom = evidence !== "" && width - lineWidth(line) >= LEAST_EVIDENCE;
    return fitLine(hasRoom ? [...line, segment(`  ${clean(evidence)}`, "dim")] : line, width);
  });
}

/** Returns what is unusual about a row, in at most `most` lines. */
export function attentionOf(
  { status }: Model,
  { name, process, figures }: Subject,
  width: number,
  most: number,
): Line[] {
  const found: string[] = [];
  const pool = poolOf(name);
  const { recycle = null, outOfTurn = null, ejections = [], ...own } = (process ?? {}) as Partial<InstanceStatus>;
  const { stalledMs = null, growthBytesPerMinute: growth = null, slow = null, marks = {} } = own;
  if (stalledMs !== null) found.push(`has not responded for ${shortDuration(stalledMs / 1000)}`);
  if (outOfTurn !== null) found.push(`gets no new requests: ${outOfTurn}`);
  for (const { reason } of ejections) found.push(reason);
  if (growth !== null) found.push(`memory grows ${size(growth)} a minute`);
  const limit = recycle?.memoryLimitInSeconds ?? null;
  if (limit !== null) found.push(`reaches its memory limit in ${longDuration(limit)}`);
  if (slow !== null) found.push(`${slow.by} is ${(slow.ms / slow.usual).toFixed(1)}× the median of ${pool}`);
  // A slow route is slow at every instance.
  for (const { route, p99Ms, isSlow } of routesOf(status, pool))
    if (isSlow) found.push(`${route} is slow in ${pool}: p99 ${latency(p99Ms)}`);
  for (const [key, word, value] of [
    ["cpuPercent", "CPU", figures.cpuPercent],
    ["rssBytes", "RSS", growth === null ? figures.rssBytes : null],
    ["errorsPerMinute", "5xx a minute", figures.errorsPerMinute],
    ["inFlight", "requests in flight", figures.inFlight],
  ] as const) {
    const mark: Mark | undefined = value === null ? undefined : marks[key];
    if (mark === undefined) continue;
    found.push(
      mark.times === null
        ? `${count(value)} ${word}, the others of ${pool} none`
        : `${word} is ${mark.times.toFixed(1)}× the median of ${pool}`,
    );
  }
  if (found.length === 0) return [];
  return wrap(clean(found.join("; ")), Math.max(1, width - 3), most).map((piece, at) => [
    segment(`${at === 0 ? " ! " : "   "}${piece}`, "warn"),
  ]);
}

function routesOf(status: Status | null, pool: string) {
  return status?.pools.find(({ name }) => name === pool)?.routeClasses ?? [];
}
