/** What needs attention: in the fleet, by the rules of `paceline explain`, and what is unusual about one row. Pure. */
import type { DeathDetails, InstanceStatus, Status } from "../control/api.js";
import type { DeathKind, DeathReport } from "../core/deaths.js";
import { explain } from "../core/explain.js";
import { slownessOf, slowRoutes } from "../core/slowness.js";
import { count, latency, longDuration, shortDuration, size } from "./format.js";
import { mediansOf, timesMedian } from "./medians.js";
import type { Model } from "./model.js";
import { isFailing, poolOf } from "./rows.js";
import type { Subject } from "./subject.js";
import { clean, fitLine, type Line, segment } from "./text.js";

interface Trouble {
  isFault: boolean;
  what: string;
}

/** Each status is looked at once. */
const known = new WeakMap<Status, readonly Trouble[]>();

/** Returns what is wrong with the fleet, the gravest first. */
export function troublesOf({ status, at, events, deaths }: Model): readonly Trouble[] {
  if (status === null || isStillStarting(status)) return [];
  const before = known.get(status);
  if (before !== undefined) return before;
  const nothing = { history: [], requests: [], open: [], watchedMs: 0, lines: [] };
  const facts = { ...nothing, now: at, fleet: status, events, deaths: deaths.list.map(reportOf) };
  const troubles = explain({ kind: "fleet" }, facts)
    .findings.filter(({ severity }) => severity !== "note")
    .filter(({ kind, about }) => !SINCE_START.has(kind) || failsNow(status, about))
    .map(({ severity, what }) => ({ isFault: severity === "fault", what }));
  known.set(status, troubles);
  return troubles;
}

/** Returns what is known of a report. */
function reportOf(death: DeathDetails): DeathReport {
  const { name, how, generation = Number.POSITIVE_INFINITY } = death;
  return {
    ...{ version: 1, attempt: 0, pid: null, runtime: "", release: "", state: "", code: null, signal: null },
    ...{ inFlight: 0, requestsTotal: 0, requestsOmitted: 0, stack: [], history: null },
    ...death,
    // A kind that is unknown is shown as it is.
    ...{ pool: poolOf(name), generation, kind: how as DeathKind, requests: [] },
  };
}

/** Whether it is normal that instances are missing. */
function isStillStarting({ state, pools }: Status): boolean {
  return state === "starting" && !pools.some(({ instances }) => instances.some(isFailing));
}

/** Findings whose figures are those since the start. */
const SINCE_START: ReadonlySet<string> = new Set(["errors", "retries"]);
/** With fewer 5xx in the last minute these findings are of the past. */
const LEAST_ERRORS = 5;

function failsNow({ pools }: Status, name: string): boolean {
  const named = [...pools, ...pools.flatMap(({ instances }) => instances)].find((each) => each.name === name);
  return (named?.errorsPerMinute ?? 0) >= LEAST_ERRORS;
}

/** Returns up to `most` lines. */
export function troubleLines(troubles: readonly Trouble[], width: number, most: number): Line[] {
  return troubles
    .slice(0, most)
    .map(({ isFault, what }) =>
      fitLine([segment(` ${isFault ? "✗" : "!"} ${clean(what)}`, isFault ? "bad" : "warn")], width),
    );
}

/** Returns what is unusual about a row, in words. */
export function attentionOf(model: Model, { name, process, figures }: Subject): Line {
  const found: string[] = [];
  const medians = mediansOf(model.status);
  const pool = poolOf(name);
  const ofPool = model.status?.pools.find((each) => each.name === pool);
  const { recycle = null, outOfTurn = null, ejections = [], ...own } = (process ?? {}) as Partial<InstanceStatus>;
  const { stalledMs = null, growthBytesPerMinute: growth = null } = own;
  if (stalledMs !== null) found.push(`has not responded for ${shortDuration(stalledMs / 1000)}`);
  if (outOfTurn !== null) found.push(`gets no new requests: ${outOfTurn}`);
  for (const { reason } of ejections) found.push(reason);
  if (growth !== null) found.push(`memory grows ${size(growth)} a minute`);
  const limit = recycle?.memoryLimitInSeconds ?? null;
  if (limit !== null) found.push(`reaches its memory limit in ${longDuration(limit)}`);
  const slow = ofPool === undefined || process === null ? undefined : slownessOf(process, ofPool);
  if (slow !== undefined) found.push(`${slow.by} is ${(slow.ms / slow.usual).toFixed(1)}× the median of ${pool}`);
  // A route is slow at every instance.
  for (const { route, p99Ms } of ofPool === undefined ? [] : slowRoutes(ofPool))
    found.push(`${route} is slow in ${pool}: p99 ${latency(p99Ms)}`);
  for (const [key, word, value] of [
    ["cpuPercent", "CPU", figures.cpuPercent],
    ["rssBytes", "memory", growth === null ? figures.rssBytes : null],
    ["errorsPerMinute", "5xx", figures.errorsPerMinute],
    ["inFlight", "requests in flight", figures.inFlight],
  ] as const) {
    const times = value === null || process === null ? undefined : timesMedian(medians, pool, key, value);
    if (times !== undefined)
      found.push(
        Number.isFinite(times)
          ? `${word} is ${times.toFixed(1)}× the median of ${pool}`
          : `${count(value)} ${word} a minute, the others of ${pool} none`,
      );
  }
  return found.length === 0 ? [] : [segment(` ! ${clean(found.join("; "))}`, "warn")];
}
