/** Decides which process is recycled next: one at a time in the whole fleet, the one that has been due for longest first. */
import { type Forecast, isMoment } from "./forecast.js";
import type { RecycleLimits } from "./model.js";
import { formatDuration } from "./words.js";

/** A process at the time of a check. */
export interface RecycleFacts {
  /** For example `web.3#7`. */
  readonly id: string;
  readonly slot: string;
  readonly index: number;
  /** Whether it is ready, of the pool's generation, and alone in its slot. */
  readonly isReplaceable: boolean;
  readonly requests: number;
  /** Null if unknown. */
  readonly memoryBytes: number | null;
  readonly ageMs: number;
  /** The share of each limit that remains after this process's jitter, above 0 and up to 1. */
  readonly share: number;
  /** Whether the time of the schedule has come. */
  readonly isScheduled: boolean;
  readonly forecast: Forecast | null;
}

export interface RecyclePool {
  readonly name: string;
  /** Whether no other operation works on the pool, or is about to. */
  readonly isFree: boolean;
  readonly limits: RecycleLimits;
  /** The share of all minutes in which it had fewer requests than in the last one. */
  readonly busyShare: number;
  readonly processes: readonly RecycleFacts[];
}

interface Due {
  readonly pool: string;
  readonly since: number;
  readonly reason: string;
}

/** Times are milliseconds of one monotonic clock. */
export interface RecycleState {
  /** The process that is being replaced. */
  readonly running: { readonly pool: string; readonly id: string } | null;
  /** The processes that have reached a limit, by their ids. */
  readonly due: ReadonlyMap<string, Due>;
  /** The pools whose last replacement failed. */
  readonly pauses: ReadonlyMap<string, { readonly failures: number; readonly until: number }>;
  /** By slot: how many consecutive processes reached the memory limit soon after their start. */
  readonly early: ReadonlyMap<string, { readonly id: string; readonly count: number }>;
}

export interface RecycleStart {
  readonly pool: string;
  readonly id: string;
  readonly slot: string;
  readonly index: number;
  readonly reason: string;
  readonly isOverMemory: boolean;
}

interface RecycleStep {
  readonly state: RecycleState;
  /** The process that should be replaced now. */
  readonly start: RecycleStart | null;
  /** Processes that are over their memory limit too soon after their start; each is reported once. */
  readonly held: readonly { readonly slot: string; readonly message: string }[];
}

export const NO_RECYCLING: RecycleState = {
  running: null,
  due: new Map(),
  pauses: new Map(),
  early: new Map(),
};

const FIRST_PAUSE_MS = 60_000;
const MAX_PAUSE_MS = 3_600_000;
/** A process over its memory limit goes before those that have been due for up to this much longer, in milliseconds. */
const MEMORY_FIRST_MS = 600_000;
/** A process that reaches its memory limit within this time has reached it early, in milliseconds. */
const EARLY_MS = 60_000;
/** If this many consecutive processes have reached the limit early, replacing the next one at once does not help. */
const EARLY_LIMIT = 3;
const MAX_HELD_MS = 300_000;

const megabytes = (bytes: number) => Math.round(bytes / 1e6);

/** Returns `maxMemoryMb 200`, with the jitter if that has lowered it. */
function limitText(key: string, value: number | string, share: number): string {
  const percent = Math.round((1 - share) * 100);
  return percent === 0 ? `${key} ${value}` : `${key} ${value} less ${percent} % jitter`;
}

/** The memory that a process may use. */
export function memoryLimitBytes({ maxMemoryMb }: RecycleLimits, share: number): number {
  return maxMemoryMb * share * 1e6;
}

function isOverMemory({ memoryBytes, share }: RecycleFacts, limits: RecycleLimits): boolean {
  return limits.maxMemoryMb > 0 && memoryBytes !== null && memoryBytes >= memoryLimitBytes(limits, share);
}

/** Each entry returns why a process should be replaced, or undefined. A new limit is one line here. */
const REASONS: readonly ((facts: RecycleFacts, pool: RecyclePool) => string | undefined)[] = [
  (facts, { limits }) =>
    isOverMemory(facts, limits)
      ? `uses ${megabytes(facts.memoryBytes ?? 0)} MB of memory (${limitText("maxMemoryMb", limits.maxMemoryMb, facts.share)})`
      : undefined,
  ({ requests, share }, { limits: { maxRequests } }) =>
    maxRequests > 0 && requests >= Math.max(1, maxRequests * share)
      ? `has handled ${requests} requests (${limitText("maxRequests", maxRequests, share)})`
      : undefined,
  ({ ageMs, share }, { limits: { maxAgeMs } }) =>
    maxAgeMs > 0 && ageMs >= maxAgeMs * share
      ? `has run for ${formatDuration(ageMs / 1000)} (${limitText("maxAgeMs", maxAgeMs, share)})`
      : undefined,
  ({ isScheduled }, { limits: { schedule } }) =>
    isScheduled && schedule !== null ? `is due by its schedule (recycleSchedule "${schedule}")` : undefined,
  ({ forecast, ageMs }, { limits: { maxMemoryMb }, busyShare }) =>
    forecast !== null && ageMs >= EARLY_MS && isMoment(forecast.leftMs, ageMs, busyShare)
      ? `would reach its memory limit in ${formatDuration(forecast.leftMs / 1000)} (maxMemoryMb ${maxMemoryMb})`
      : undefined,
];

/** Returns how old a process must be before it is replaced for its memory, after `early` processes that reached the limit early. */
function heldMs(early: number): number {
  return early < EARLY_LIMIT ? 0 : Math.min(MAX_HELD_MS, EARLY_MS * 2 ** (early - EARLY_LIMIT));
}

/** Finds the processes that are due and, unless a process is being replaced, the one that is replaced now. */
export function nextRecycle(state: RecycleState, pools: readonly RecyclePool[], now: number): RecycleStep {
  const due = new Map<string, Due>();
  const early = new Map<string, { id: string; count: number }>();
  const held: { slot: string; message: string }[] = [];
  let start: (RecycleStart & { rank: number }) | null = null;
  for (const pool of pools) {
    const isPaused = now < (state.pauses.get(pool.name)?.until ?? 0);
    for (const facts of pool.processes) {
      const { id, slot, index } = facts;
      const isOver = isOverMemory(facts, pool.limits);
      const before = state.early.get(slot);
      let counted = before;
      // Counted once for each process, when it reaches the limit.
      if (isOver && before?.id !== id)
        counted = facts.ageMs < EARLY_MS ? { id, count: (before?.count ?? 0) + 1 } : { id, count: 0 };
      if (counted !== undefined) early.set(slot, counted);
      const waitMs = isOver ? heldMs(counted?.count ?? 0) : 0;
      const isHeld = facts.ageMs < waitMs;
      if (isHeld && counted !== before && isWorthSaying(counted?.count ?? 0))
        held.push({ slot, message: heldText(counted?.count ?? 0, waitMs, pool.limits) });
      const reason = firstReason(facts, pool);
      if (reason === undefined) continue;
      const since = state.due.get(id)?.since ?? now;
      due.set(id, { pool: pool.name, since, reason });
      if (state.running !== null || isHeld || isPaused || !pool.isFree || !facts.isReplaceable) continue;
      const rank = isOver ? since - MEMORY_FIRST_MS : since;
      if (start === null || rank < start.rank)
        start = { pool: pool.name, slot, index, reason, id, rank, isOverMemory: isOver };
    }
  }
  const running = start === null ? state.running : { pool: start.pool, id: start.id };
  const pauses = new Map([...state.pauses].filter(([name]) => pools.some((pool) => pool.name === name)));
  return { state: { running, due, early, pauses }, start, held };
}

function firstReason(facts: RecycleFacts, pool: RecyclePool): string | undefined {
  for (const reasonOf of REASONS) {
    const reason = reasonOf(facts, pool);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** Whether to report this count: the first time, and then less and less often. */
function isWorthSaying(count: number): boolean {
  return Number.isInteger(Math.log2(count / EARLY_LIMIT));
}

function heldText(count: number, waitMs: number, { maxMemoryMb }: RecycleLimits): string {
  const wait = formatDuration(waitMs / 1000);
  return `reached maxMemoryMb ${maxMemoryMb} within ${formatDuration(EARLY_MS / 1000)} of its start, ${count} times in a row: it is not replaced before it has run for ${wait}; raise the limit, or find the leak`;
}

/**
 * Records how the replacement ended. A failed replacement pauses the pool, longer each time. An interrupted one does not. Also returns the
 * pause; 0 if there is none.
 */
export function recycleEnded(
  state: RecycleState,
  outcome: "done" | "failed" | "interrupted",
  now: number,
): { state: RecycleState; pauseMs: number } {
  if (state.running === null) return { state, pauseMs: 0 };
  const { pool } = state.running;
  const pauses = new Map(state.pauses);
  const failures = outcome === "failed" ? (pauses.get(pool)?.failures ?? 0) + 1 : 0;
  const pauseMs = failures === 0 ? 0 : Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
  if (outcome === "failed") pauses.set(pool, { failures, until: now + pauseMs });
  else if (outcome === "done") pauses.delete(pool);
  return { state: { ...state, running: null, pauses }, pauseMs };
}
