/** The keys that limit the life of a working process, and the resulting limits. */
import { type CronTimes, readCron } from "@paceline/wire/cron";
import type { RecycleLimits } from "../core/model.js";
import { count, fraction, milliseconds, text, word } from "./fields.js";

const DEFAULTS = { maxMemoryMb: 0, maxRequests: 0, maxAgeMs: 0, recycleJitter: 0.1 };
const MAX_AGE_MS = 366 * 86_400_000;

export const recycleFields = {
  maxMemoryMb: count(
    DEFAULTS.maxMemoryMb,
    "Recycle a process that uses this many megabytes (10⁶ bytes), including all processes that a command or worker has started. The old process drains when its replacement is ready. One process is replaced at a time; a process that leaks steadily is replaced before it reaches the limit. `0`: no limit. See [Recycling](operations.md#recycling).",
    { min: 0 },
  ),
  memoryMetric: word(
    ["rss", "pss"],
    'The memory that counts for `maxMemoryMb`: the resident memory (RSS), or the proportional memory (PSS), which divides shared pages among the processes. PSS suits processes that fork, such as those of `preload`; it is read every 15 s and needs Linux. Default: `"rss"`.',
  ),
  maxRequests: count(
    DEFAULTS.maxRequests,
    "Recycle a process after this many requests. `0`: never. The old process still gets requests until the replacement has been ready for `minReadyMs`. For a command, the balancers count the requests.",
    { min: 0, max: 1_000_000_000 },
  ),
  maxAgeMs: milliseconds(DEFAULTS.maxAgeMs, "Recycle a process that has run for this long. `0`: never.", {
    min: 0,
    max: MAX_AGE_MS,
  }),
  recycleSchedule: text(
    'Recycle all processes, one after another, at these times: a cron pattern in the time zone of the supervisor (TZ, or the machine\'s), such as `"0 4 * * *"` or `"@weekly"`. Processes that started after that time are not recycled.',
  ),
  recycleJitter: fraction(
    DEFAULTS.recycleJitter,
    "Lower the limits of each process by a random share of up to this value, so that processes are not recycled together. Times of `recycleSchedule` are instead delayed by up to this share of an hour.",
    { min: 0, max: 1 },
  ),
};

interface RecycleInput {
  maxMemoryMb?: number | undefined;
  memoryMetric?: RecycleLimits["memoryMetric"] | undefined;
  maxRequests?: number | undefined;
  maxAgeMs?: number | undefined;
  recycleSchedule?: string | undefined;
  recycleJitter?: number | undefined;
}

/**
 * Resolves the keys of a pool, whose defaults are those of the top level. `report` also gets whether the key is the pool's own.
 * @param runsAtTimes whether it is a worker with `cron`, whose processes exit by themselves
 */
export function resolveRecycle(
  outer: RecycleInput,
  pool: RecycleInput,
  runsAtTimes: boolean,
  report: (isOwn: boolean, key: keyof RecycleInput, message: string) => void,
): RecycleLimits {
  for (const key of runsAtTimes ? (Object.keys(recycleFields) as (keyof RecycleInput)[]) : [])
    if (pool[key] !== undefined) report(true, key, "cannot be combined with `cron`: a run ends by itself");
  const keys = runsAtTimes ? {} : { ...outer, ...withoutUndefined(pool) };
  const { memoryMetric = "rss", recycleSchedule: schedule = null } = keys;
  const problem = schedule === null ? undefined : problemOf(schedule);
  if (problem !== undefined) report(pool.recycleSchedule !== undefined, "recycleSchedule", problem);
  return {
    maxMemoryMb: keys.maxMemoryMb ?? DEFAULTS.maxMemoryMb,
    memoryMetric,
    maxRequests: keys.maxRequests ?? DEFAULTS.maxRequests,
    maxAgeMs: keys.maxAgeMs ?? DEFAULTS.maxAgeMs,
    schedule,
    jitter: keys.recycleJitter ?? DEFAULTS.recycleJitter,
  };
}

function withoutUndefined(keys: RecycleInput): RecycleInput {
  return Object.fromEntries(Object.entries(keys).filter(([, value]) => value !== undefined));
}

function problemOf(pattern: string): string | undefined {
  const times: CronTimes | { problem: string } = readCron(pattern, undefined);
  if ("problem" in times) return times.problem;
  return times.next(Date.now()) === null ? `never comes: ${JSON.stringify(pattern)}` : undefined;
}
