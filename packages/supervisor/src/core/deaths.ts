/** Reports of deaths: their kinds, their limits, and which of them are kept. Pure. */
import type { LostRequest } from "@paceline/wire";
import { type Fleet, findSlot, occupants } from "./fleet.js";
import type { ExitStatus } from "./model.js";
import { NOT_READY } from "./words.js";

/** Every kind of death: its name in a list, and its meaning. docs/deaths.md has the same table. */
export const DEATH_KINDS = {
  exit: { how: ({ code }) => `exit ${code ?? "?"}`, means: "the process exited by itself" },
  signal: { how: ({ signal }) => signal ?? "signal", means: "it was ended by a signal that Paceline did not send" },
  outOfMemory: { how: () => "out of memory", means: "the kernel's OOM killer ended it" },
  perhapsOutOfMemory: {
    how: ({ signal }) => `${signal ?? "SIGKILL"}, memory?`,
    means: "SIGKILL from outside; this machine does not show whether the OOM killer sent it",
  },
  hung: { how: () => "hung", means: "its event loop was blocked for `hangAfterMs`; killed" },
  requestTimeout: { how: () => "request timeout", means: "a request took over `requestTimeoutMs`; killed" },
  unhealthy: { how: () => "unhealthy", means: "its health checks failed; ended" },
  memory: {
    how: () => "memory limit",
    means: "it was recycled because of `maxMemoryMb`, and did not exit by the deadlines; killed",
  },
  notReady: { how: () => "not ready", means: "it was not ready within `readyTimeoutMs`; killed" },
  slow: { how: () => "slow to stop", means: "it did not exit within `termTimeoutMs` of SIGTERM; killed" },
  notStarted: { how: () => "not started", means: "it could not be started" },
  template: { how: () => "template ended", means: "the template that forks it ended first" },
  unknown: { how: () => "unknown", means: "its parent did not report how it ended" },
} as const satisfies Record<string, { how(status: ExitStatus): string; means: string }>;

export type DeathKind = keyof typeof DEATH_KINDS;

/** Samples of a process's last minutes, newest last. A value is null if it was not measured. */
export interface DeathHistory {
  everyMs: number;
  rssBytes: (number | null)[];
  eventLoopLagMs: (number | null)[];
  requestsPerSecond: (number | null)[];
}

/** The file of a death. Times are Unix times in milliseconds. */
export interface DeathReport {
  version: 1;
  /** Counts the deaths of a fleet. */
  id: number;
  at: number;
  /** When the exit was found, if no supervisor was running when it ended: `at` is then its last sign of life. */
  foundAt?: number;
  /** The process, for example `web.3#7`, and its slot. */
  process: string;
  name: string;
  pool: string;
  kind: DeathKind;
  attempt: number;
  generation: number;
  pid: number | null;
  /** For example `node`, `bun` or `python 3.11.7`; for a command, its shim's runtime. */
  runtime: string;
  release: string;
  uptimeMs: number;
  /** Its state when it ended. */
  state: string;
  code: number | null;
  signal: string | null;
  /** One line for display, for example `exited with code 1 after 3 s: TypeError: x`. */
  reason: string;
  /** The request that it was running, if known, for example `GET /report`. */
  running: string | null;
  inFlight: number;
  requestsTotal: number;
  /** The requests that the balancers lost when it exited, at most MAX_REQUESTS. */
  requests: LostRequest[];
  /** The number of further requests. */
  requestsOmitted: number;
  /** The stack when it was killed, innermost frame first; empty if it could not be read. */
  stack: string[];
  history: DeathHistory | null;
  lastLines: string[];
}

export const MAX_REQUESTS = 32;
const MAX_LINES = 60;
const MAX_FRAMES = 40;
const MAX_TEXT = 400;
const MAX_REASON = 1500;
/** The maximum number of characters of a report's output, and of its stack. */
const MAX_LINES_CHARACTERS = 12_000;

/** Returns the report with every list and text limited. The newest lines and the innermost frames are kept. */
export function boundReport(report: DeathReport): DeathReport {
  const { requests, requestsOmitted, stack, lastLines, reason, running, release } = report;
  return {
    ...report,
    reason: cut(reason, MAX_REASON),
    running: running === null ? null : cut(running),
    release: cut(release),
    requests: requests.slice(0, MAX_REQUESTS).map((lost) => ({
      ...lost,
      request: cut(lost.request),
      ...(lost.id !== undefined && { id: cut(lost.id) }),
    })),
    requestsOmitted: requestsOmitted + Math.max(0, requests.length - MAX_REQUESTS),
    stack: fitting(stack.slice(0, MAX_FRAMES).map((frame) => cut(frame))),
    lastLines: fitting(
      lastLines
        .slice(-MAX_LINES)
        .map((line) => cut(line))
        .reverse(),
    ).reverse(),
  };
}

function cut(text: string, most = MAX_TEXT): string {
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}

/** Returns the first lines that fit. */
function fitting(lines: string[]): string[] {
  let left = MAX_LINES_CHARACTERS;
  return lines.filter((line) => {
    left -= line.length;
    return left >= 0;
  });
}

/** The facts that decide the kind of a death. */
export interface DeathFacts {
  status: ExitStatus;
  /** Why Paceline killed it; null if it did not. */
  killedAs: DeathKind | null;
  isSpawnFailure: boolean;
  /** Whether the OOM killer has killed it; undefined if that cannot be read. Called only if nothing else killed it. */
  wasOutOfMemory(): boolean | undefined;
}

export function kindOfDeath({ status, killedAs, isSpawnFailure, wasOutOfMemory }: DeathFacts): DeathKind {
  if (isSpawnFailure) return "notStarted";
  if (killedAs !== null) return killedAs;
  if (status.signal === "SIGKILL") {
    const known = wasOutOfMemory();
    return known === undefined ? "perhapsOutOfMemory" : known ? "outOfMemory" : "signal";
  }
  if (status.signal !== null) return "signal";
  if (status.code !== null) return "exit";
  // No process could wait for it, for example if it was adopted.
  return wasOutOfMemory() === true ? "outOfMemory" : "unknown";
}

/**
 * Returns the kind of a kill by the state machine; `verdict` is missing if the process was only slow.
 * @param isOverMemory whether it is being replaced because of its memory
 */
export function kindOfVerdict(verdict: string | undefined, isOverMemory: boolean): DeathKind {
  if (verdict === undefined) return isOverMemory ? "memory" : "slow";
  if (verdict.startsWith(NOT_READY)) return "notReady";
  return verdict.startsWith("unhealthy") ? "unhealthy" : "hung";
}

/** Returns the short text for a kind: `exit 3`, `SIGSEGV`, `hung`. */
export function howItDied({ kind, code, signal }: Pick<DeathReport, "kind" | "code" | "signal">): string {
  // A report of a newer version may have another kind.
  const known = DEATH_KINDS[kind] as (typeof DEATH_KINDS)[DeathKind] | undefined;
  return known === undefined ? String(kind) : known.how({ code, signal });
}

/** Signals that no drain sends. A draining process that dies of one has failed. */
const OF_FAILURE = new Set(["SIGKILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"]);

/** Returns the state of a process whose exit nobody requested, or that had to be killed; undefined if its exit was wanted. */
export function unwantedState(
  fleet: Fleet,
  ended: { pool: string; index: number; attempt: number },
  { signal }: ExitStatus,
  wasKilled: boolean,
): string | undefined {
  const slot = findSlot(fleet, ended.pool, ended.index);
  const found = slot && occupants(slot).find(({ occupant }) => occupant.process.attempt === ended.attempt);
  const state = found?.occupant.process.state;
  switch (state) {
    case "starting":
    case "ready":
    case "warm":
    case "killing":
      return state;
    case "draining":
      return !wasKilled && signal !== null && OF_FAILURE.has(signal) ? state : undefined;
    default:
      return undefined;
  }
}

/** A report file. */
interface KeptReport {
  id: number;
  name: string;
  bytes: number;
}

/** The limits of all reports together. */
const KEPT_REPORTS = { count: 200, bytes: 4 << 20 };

/**
 * Returns the reports to remove: the oldest ones of the slot that has the most. A slot that dies every ten seconds must not displace the
 * reports of others.
 */
export function reportsToRemove(kept: readonly KeptReport[], most = KEPT_REPORTS): KeptReport[] {
  const removed: KeptReport[] = [];
  let count = kept.length;
  let bytes = kept.reduce((sum, report) => sum + report.bytes, 0);
  if (count <= most.count && bytes <= most.bytes) return removed;
  const byName = new Map<string, KeptReport[]>();
  for (const report of [...kept].sort((a, b) => a.id - b.id)) {
    const same = byName.get(report.name);
    if (same === undefined) byName.set(report.name, [report]);
    else same.push(report);
  }
  while (count > most.count || bytes > most.bytes) {
    const largest = [...byName.values()].reduce((a, b) => (b.length > a.length ? b : a));
    const oldest = largest.shift();
    if (oldest === undefined) break;
    removed.push(oldest);
    count--;
    bytes -= oldest.bytes;
  }
  return removed;
}

/** A request that was running at this many deaths is considered their cause. */
const KILLS = 2;

/** Returns the requests that were running at several deaths, worst first, each with its deaths in the given order. */
export function killersOf<Death>(
  deaths: readonly Death[],
  runningAt: (death: Death) => Iterable<string>,
): { request: string; deaths: Death[] }[] {
  const byRequest = new Map<string, Death[]>();
  for (const death of deaths)
    for (const request of runningAt(death)) byRequest.set(request, [...(byRequest.get(request) ?? []), death]);
  return [...byRequest]
    .map(([request, all]) => ({ request, deaths: all }))
    .filter((each) => each.deaths.length >= KILLS)
    .sort((a, b) => b.deaths.length - a.deaths.length);
}
