/** The table form of `instances`: limits, target and schedule of an autoscaled pool, and its conversion. */
import { readCron } from "@paceline/wire/cron";
import { MAX_INSTANCES, type ScalingConfig } from "../core/model.js";
import type { ScalingMetric, ScalingTarget } from "../core/scaling-needs.js";
import {
  count,
  expected,
  fieldOf,
  flag,
  milliseconds,
  processCount,
  processes,
  table,
  tables,
  text,
} from "./fields.js";

const DEFAULTS = { min: 1, coolDownMs: 60_000, retryAfterMs: 30_000 };

const targetFields = {
  queueMs: milliseconds(undefined, "The average time that a request waits until an instance starts it.", {
    max: 60_000,
  }),
  cpuPercent: count(undefined, "The CPU time of an instance, in percent of one processor.", { max: 6400 }),
  inFlight: count(undefined, "The requests in flight per instance, including those in the request queue.", {
    max: 100_000,
  }),
};

const scheduleFields = {
  cron: text(
    'When these bounds begin, as a cron pattern such as `"0 7 * * 1-5"`. They apply until the next entry begins.',
  ),
  instances: count(undefined, "A fixed number, in place of `min` and `max`.", { max: MAX_INSTANCES }),
  min: count(undefined, "Default: the `min` of the pool.", { max: MAX_INSTANCES }),
  max: count(undefined, "Default: the `max` of the pool.", { max: MAX_INSTANCES }),
};

const scalingFields = {
  min: count(DEFAULTS.min, "The fewest instances.", { max: MAX_INSTANCES }),
  max: processes(undefined, 'The most instances; `"cpus"` means one per processor. Required.', { max: MAX_INSTANCES }),
  target: table(targetFields, "The target that the number of instances follows: exactly one of these keys. Required."),
  coolDownMs: milliseconds(
    DEFAULTS.coolDownMs,
    "The pool shrinks to the highest number of instances that it needed within this time. The time doubles each time the pool shrank too soon, up to eight times.",
  ),
  checkBenefit: flag(
    true,
    "Compare throughput and requests in flight before and after the pool grew, and remove instances that did not help, because the CPUs of the machine or something else, such as a database, is the limit.",
  ),
  retryAfterMs: milliseconds(
    DEFAULTS.retryAfterMs,
    "How long the pool does not grow after instances were removed. The time doubles each time, up to twenty times.",
  ),
  schedule: tables(
    scheduleFields,
    "Other bounds at certain times. Before the first entry of the list has begun, the bounds of the pool apply.",
  ),
  timezone: text('The time zone of `schedule`, such as `"Europe/Berlin"`. Default: that of the supervisor.'),
};

/** A fixed number of instances, or the table of an autoscaled pool. */
export const instances = fieldOf(
  [processes(undefined, "", { min: 0, max: MAX_INSTANCES }).unwrap(), table(scalingFields, "").unwrap()],
  expected(`must be a whole number from 0 to ${MAX_INSTANCES}, "cpus", or a table with \`max\` and \`target\``),
  {
    type: 'whole number, `"cpus"` or table',
    description:
      'The number of instances; `"cpus"` means one per processor available to Paceline. Default: 4 for an app in any language; 1 for a folder of files, a command, a proxy or a worker. With 0, requests get 503 until you run `paceline scale`. A table such as `{ min: 1, max: 8, target: { queueMs: 50 } }` makes the number follow the load; see [scaling.md](scaling.md).',
  },
);

type TableInput = Exclude<NonNullable<ReturnType<typeof instances.parse>>, number | "cpus">;

type Reporter = (path: (string | number)[], message: string) => void;

/** Resolves the table; problems are reported by path below `instances`. */
export function resolveScaling(given: TableInput, report: Reporter): ScalingConfig {
  const {
    min = DEFAULTS.min,
    timezone,
    coolDownMs = DEFAULTS.coolDownMs,
    retryAfterMs = DEFAULTS.retryAfterMs,
  } = given;
  if (given.max === undefined) report(["max"], "is missing: the most instances that the pool may have");
  const max = given.max === undefined ? MAX_INSTANCES : processCount(given.max);
  if (min > max) report(["min"], `cannot be more than \`max\`, which is ${max}`);
  if (timezone !== undefined && given.schedule === undefined) report(["timezone"], "is only valid with `schedule`");
  return {
    ...{ min: Math.min(min, max), max, target: targetOf(given.target, report), coolDownMs, retryAfterMs },
    checkBenefit: given.checkBenefit ?? true,
    timezone: timezone ?? null,
    schedule: (given.schedule ?? []).map((entry, at) =>
      entryOf(entry, { min, max }, timezone, (path, message) =>
        report(path[0] === "timezone" ? path : ["schedule", at, ...path], message),
      ),
    ),
  };
}

function targetOf(given: TableInput["target"], report: Reporter): ScalingTarget {
  const known = Object.keys(targetFields) as ScalingMetric[];
  const set = known.filter((metric) => given?.[metric] !== undefined);
  const [metric = "queueMs"] = set;
  if (set.length !== 1) report(["target"], `must have exactly one of ${known.map((each) => `\`${each}\``).join(", ")}`);
  return { metric, value: given?.[metric] ?? 1 };
}

function entryOf(
  entry: NonNullable<TableInput["schedule"]>[number],
  bounds: { min: number; max: number },
  timezone: string | undefined,
  report: Reporter,
): ScalingConfig["schedule"][number] {
  const { cron = "", instances: fixed } = entry;
  const times = readCron(cron, timezone);
  if (entry.cron === undefined) report(["cron"], "is missing: when these bounds begin");
  else if ("problem" in times) report([times.key], times.problem);
  else if (times.next(Date.now()) === null) report(["cron"], `never comes: ${JSON.stringify(cron)}`);
  if (fixed !== undefined && (entry.min ?? entry.max) !== undefined)
    report(["instances"], "cannot be combined with `min` or `max`");
  if (fixed === undefined && (entry.min ?? entry.max) === undefined)
    report([], "must have `min`, `max` or `instances`");
  const min = fixed ?? entry.min ?? Math.min(bounds.min, entry.max ?? bounds.min);
  const max = fixed ?? entry.max ?? bounds.max;
  const hint = entry.max === undefined ? " in the pool; give this entry its own `max`" : "";
  if (min > max) report(["min"], `cannot be more than \`max\`, which is ${max}${hint}`);
  return { cron, min: Math.min(min, max), max };
}
