/**
 * Compares processes with the limits of their pools, and lets core/recycle.ts decide which one is replaced. The replacement is ready before
 * the process drains.
 */
import type { CronTimes } from "@paceline/wire/cron";
import type { RecycleStatus } from "../control/api.js";
import { type Fleet, type Pool, processId } from "../core/fleet.js";
import {
  addReading,
  busyShareOf,
  countMinutes,
  type Forecast,
  forecast,
  type MemoryTrend,
  type Minutes,
  NO_MINUTES,
  NO_TREND,
} from "../core/forecast.js";
import type { RecycleLimits } from "../core/model.js";
import {
  memoryLimitBytes,
  NO_RECYCLING,
  nextRecycle,
  type RecycleFacts,
  type RecyclePool,
  type RecycleStart,
  recycleEnded,
} from "../core/recycle.js";
import { formatDuration } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "../processes/children.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { Rollouts } from "./rollouts.js";

interface RecyclingOptions {
  children: Pick<Children, "get">;
  rollouts: Pick<Rollouts, "of" | "run">;
  log: Pick<EventLog, "event">;
  fleet(): Fleet;
  /** Returns undefined for a pool whose processes are never recycled. */
  limitsOf(pool: string): RecycleLimits | undefined;
  /** Whether no other operation works on that pool, or is about to. */
  mayBegin(pool: string): boolean;
  /** Returns the last reading of a process's memory, and when it was taken, by performance.now(). */
  memoryOf(child: LiveProcess, metric: RecycleLimits["memoryMetric"]): { bytes: number; at: number } | undefined;
  /** Returns how many requests a pool has had. */
  requestsOf(pool: string): number;
}

/** The state of one process. */
interface Watched {
  /** The random jitter, 0 to 1. */
  readonly draw: number;
  /** When its schedule is due, as Unix time in milliseconds; undefined before the first check. */
  scheduledAt: number | null | undefined;
  memoryBytes: number | null;
  readAt: number;
  trend: MemoryTrend;
  /** Computed from the reading at `forecastAt`. */
  forecast: Forecast | null;
  forecastAt: number;
  isReported: boolean;
}

/** Reports within this time are checked together, in milliseconds. */
const TOGETHER_MS = 1000;
/** From this share of its limit on, a process's memory is read more often. */
const PRESSING_SHARE = 0.75;
/** A limit that is reached later than this is not reported yet, in milliseconds. */
const REPORT_WITHIN_MS = 7 * 86_400_000;
const HOUR_MS = 3_600_000;

export class Recycling {
  private timer: NodeJS.Timeout | undefined;
  private isStopped = false;
  private state = NO_RECYCLING;
  private readonly watched = new WeakMap<LiveProcess, Watched>();
  private readonly minutes = new Map<string, Minutes>();
  private readCron: typeof import("@paceline/wire/cron").readCron | undefined;
  /** Whether a process is close to its memory limit. */
  isPressing = false;

  constructor(private readonly options: RecyclingOptions) {}

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /**
   * Schedules a check after a report or a reading of the memory. Idle processes report every 10 s, so pools without activity are also
   * covered.
   */
  lookSoon(): void {
    if (this.isStopped) return;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.look(performance.now());
    }, TOGETHER_MS);
  }

  look(now: number): void {
    const { log, fleet, limitsOf } = this.options;
    const pools: RecyclePool[] = [];
    this.isPressing = false;
    for (const pool of fleet().pools) {
      const limits = limitsOf(pool.name);
      if (limits !== undefined) pools.push(this.poolFacts(pool, limits, now));
      else this.minutes.delete(pool.name);
    }
    const { state, start, held } = nextRecycle(this.state, pools, now);
    this.state = state;
    for (const { slot, message } of held) log.event("warn", slot, message);
    if (start !== null) this.start(start);
  }

  /** Returns the values that `paceline status` shows for a process. */
  statusOf(child: LiveProcess | undefined): RecycleStatus | null {
    const known = child === undefined ? undefined : this.watched.get(child);
    if (child === undefined || known === undefined) return null;
    const due = this.state.due.get(child.id)?.reason ?? null;
    const seen = forecastNow(known, performance.now());
    if (due === null && seen === null) return null;
    return {
      due,
      memoryLimitInSeconds: seen && Math.round(seen.leftMs / 1000),
      memoryBytesPerHour: seen && Math.round(seen.bytesPerMs * HOUR_MS),
    };
  }

  /** Returns how much longer a pool is not recycled after a failed replacement; null if it is recycled. */
  pauseSeconds(pool: string): number | null {
    const leftMs = (this.state.pauses.get(pool)?.until ?? 0) - performance.now();
    return leftMs > 0 ? Math.round(leftMs / 1000) : null;
  }

  private start({ pool, id, slot, index, reason, isOverMemory }: RecycleStart): void {
    const { log, fleet, rollouts, children } = this.options;
    const child = children.get(id);
    if (child !== undefined && isOverMemory) child.death.isOverMemory = true;
    const generation = fleet().pools.find(({ name }) => name === pool)?.generation ?? 0;
    log.event("info", slot, `is being recycled: it ${reason}`);
    void rollouts
      .run("recycle", pool, [index], generation, () => {})
      .then((result) => {
        const outcome = result.ok ? "done" : result.code === "busy" ? "interrupted" : "failed";
        const { state, pauseMs } = recycleEnded(this.state, outcome, performance.now());
        this.state = state;
        if (pauseMs > 0 && !this.isStopped)
          log.event("warn", pool, `recycling is tried again in ${formatDuration(pauseMs / 1000)}`, "recycle-failed");
        if (result.ok && !this.isStopped) this.look(performance.now());
        else this.lookSoon();
      });
  }

  private poolFacts(pool: Pool, limits: RecycleLimits, now: number): RecyclePool {
    const { rollouts, mayBegin, requestsOf } = this.options;
    const { name, generation, slots } = pool;
    const minutes = this.minutes.get(name) ?? NO_MINUTES;
    const isNewMinute = minutes.current?.minute !== Math.floor(now / 60_000);
    const counted = limits.maxMemoryMb > 0 && isNewMinute ? countMinutes(minutes, now, requestsOf(name)) : minutes;
    this.minutes.set(name, counted);
    const processes: RecycleFacts[] = [];
    for (const { name: slot, index, member, other } of slots) {
      const { state, attempt } = member.process;
      const child = this.options.children.get(processId(slot, attempt));
      if (state !== "ready" || child === undefined || child.exit !== null) continue;
      const known = this.watch(child);
      const ageMs = now - child.spawnedAt;
      const share = 1 - limits.jitter * known.draw;
      this.readMemory(child, known, limits, share);
      processes.push({
        ...{ id: child.id, slot, index, ageMs, share },
        // Processes of older generations are left to the reload.
        isReplaceable: member.generation === generation && other === null && index <= pool.wanted,
        requests: child.stats.last?.requestsTotal ?? 0,
        memoryBytes: known.memoryBytes,
        isScheduled: this.isScheduled(known, limits, ageMs),
        forecast: forecastNow(known, now),
      });
    }
    const hasForecast = processes.some((each) => each.forecast !== null);
    return {
      ...{ name, limits, processes },
      isFree: rollouts.of(name) === undefined && mayBegin(name),
      busyShare: hasForecast ? busyShareOf(counted) : 0,
    };
  }

  private watch(child: LiveProcess): Watched {
    let known = this.watched.get(child);
    if (known === undefined) {
      known = {
        ...{ draw: Math.random(), scheduledAt: undefined, memoryBytes: null, readAt: 0 },
        ...{ trend: NO_TREND, forecast: null, forecastAt: 0, isReported: false },
      };
      this.watched.set(child, known);
    }
    return known;
  }

  private readMemory(child: LiveProcess, known: Watched, limits: RecycleLimits, share: number): void {
    if (limits.maxMemoryMb === 0) return;
    const reading = this.options.memoryOf(child, limits.memoryMetric);
    // A reading from before its start belongs to an earlier process with the same pid.
    if (reading === undefined || reading.at < child.spawnedAt) return;
    const limitBytes = memoryLimitBytes(limits, share);
    if (reading.bytes >= limitBytes * PRESSING_SHARE) this.isPressing = true;
    if (reading.at === known.readAt) return;
    known.readAt = reading.at;
    known.memoryBytes = reading.bytes;
    const trend = addReading(known.trend, reading.at - child.spawnedAt, reading.bytes);
    if (trend === known.trend) return;
    known.trend = trend;
    known.forecast = forecast(trend, limitBytes) ?? null;
    known.forecastAt = reading.at;
    this.reportForecast(child, known, limits);
  }

  /** Reports once that a process leaks memory. */
  private reportForecast({ name }: LiveProcess, known: Watched, { maxMemoryMb }: RecycleLimits): void {
    const { forecast: seen, isReported } = known;
    if (seen === null || isReported || seen.leftMs > REPORT_WITHIN_MS) return;
    known.isReported = true;
    const text = `grows by ${growthText(seen)}, and reaches its memory limit in ${formatDuration(seen.leftMs / 1000)} (maxMemoryMb ${maxMemoryMb})`;
    this.options.log.event("info", name, text, "memory");
  }

  private isScheduled(known: Watched, { schedule, jitter }: RecycleLimits, ageMs: number): boolean {
    if (schedule === null) return false;
    if (known.scheduledAt === undefined) {
      const times = this.timesOf(schedule);
      if (times === undefined) return false;
      const at = times.next(Date.now() - ageMs);
      known.scheduledAt = at === null ? null : at + known.draw * jitter * HOUR_MS;
    }
    return known.scheduledAt !== null && Date.now() >= known.scheduledAt;
  }

  /** Returns undefined while the library is being loaded; only pools with a schedule need it. */
  private timesOf(schedule: string): CronTimes | undefined {
    if (this.readCron === undefined) {
      void import("@paceline/wire/cron").then(({ readCron }) => {
        this.readCron = readCron;
      });
      return undefined;
    }
    const times = this.readCron(schedule, undefined);
    return "problem" in times ? undefined : times;
  }
}

function forecastNow({ forecast: seen, forecastAt }: Watched, now: number): Forecast | null {
  return seen && { ...seen, leftMs: Math.max(0, seen.leftMs - (now - forecastAt)) };
}

/** Returns `4.2 MB an hour` or `62 MB a minute`. */
function growthText({ bytesPerMs }: Forecast): string {
  const perHour = (bytesPerMs * HOUR_MS) / 1e6;
  if (perHour >= 600) return `${Math.round(perHour / 60)} MB a minute`;
  return `${perHour < 10 ? perHour.toFixed(1) : Math.round(perHour)} MB an hour`;
}
