/** The keys about instances that are worse than the others of their pool, and about requests that are sent again. */
import type { EjectionRule } from "@paceline/wire";
import { RETRY_BUDGET } from "@paceline/wire/limits";
import type { RelayTraits } from "../core/model.js";
import { count, milliseconds, table } from "./fields.js";

const DEFAULTS: EjectionRule = {
  failures: 5,
  failurePercent: 50,
  minRequests: 20,
  windowMs: 30_000,
  ejectMs: 10_000,
  maxEjectMs: 300_000,
  maxEjectedPercent: 50,
};

const ejection = {
  failures: count(
    DEFAULTS.failures,
    "Eject an instance after this many failures in a row: responses with status 500 and above, timeouts, and connections that are refused or lost. More failures are needed in a small pool, or if other instances fail too. `0`: off.",
    { min: 0, max: 1000 },
  ),
  failurePercent: count(
    DEFAULTS.failurePercent,
    "Eject an instance if at least this percentage of its requests fail, while a far smaller share of the other instances' requests fails. `0`: off.",
    { min: 0, max: 100 },
  ),
  minRequests: count(
    DEFAULTS.minRequests,
    "`failurePercent` applies to an instance with at least this many requests in `windowMs`.",
    { max: 1_000_000 },
  ),
  windowMs: milliseconds(DEFAULTS.windowMs, "How long requests are remembered for these rules, on average."),
  ejectMs: milliseconds(
    DEFAULTS.ejectMs,
    "How long an ejection lasts. Each further ejection of the same instance lasts twice as long as the one before.",
  ),
  maxEjectMs: milliseconds(DEFAULTS.maxEjectMs, "The longest time of an ejection."),
  maxEjectedPercent: count(
    DEFAULTS.maxEjectedPercent,
    "The percentage of the pool's instances that may be ejected at the same time, rounded down; never the last one. `0`: none is ejected.",
    { min: 0, max: 100 },
  ),
};

const retryBudget = {
  percent: count(RETRY_BUDGET.percent, "The percentage of the pool's requests that may be sent again.", {
    min: 0,
    max: 100,
  }),
  minPerSecond: count(
    RETRY_BUDGET.minPerSecond,
    "How many requests per second may always be sent again. Unused allowance is kept for ten seconds.",
    { min: 0 },
  ),
};

export const ejectionFields = {
  ejection: table(
    ejection,
    'When a balancer temporarily sends no new requests to an instance that is worse than the others; see [balancing.md](balancing.md#health). Without this key the defaults apply, except in a pool with `sticky`, `policy: "exact"` or `"hash:…"`, where no instance is ejected.',
  ),
  slowStartMs: milliseconds(
    0,
    "How long the share of an instance grows, from a tenth to the whole, after the instance becomes ready or is readmitted. `0`: it gets its whole share at once.",
    { min: 0 },
  ),
  retryBudget: table(
    retryBudget,
    "How many requests that may have started at a lost instance are sent to another instance. Beyond this budget they get 502. Requests that have certainly not started are sent to another instance without this limit.",
  ),
};

/** The keys of a pool that are used here. */
interface EjectionInput {
  ejection?: { [K in keyof EjectionRule]?: number | undefined } | undefined;
  slowStartMs?: number | undefined;
  retryBudget?: { percent?: number | undefined; minPerSecond?: number | undefined } | undefined;
  hedge?: boolean | undefined;
  sticky?: string | undefined;
  policy?: string | undefined;
}

/** If a client or its path decides the instance, the instance's failures show little about the instance itself. */
const KEYED_POLICIES = /^(?:exact$|hash:)/;

/** Converts the keys to the rules for balancers. Problems are reported by key. */
export function resolveEjection(
  pool: EjectionInput,
  report: (path: string[], message: string) => void,
): Pick<RelayTraits, "ejection" | "slowStartMs" | "retryBudget" | "hedge"> {
  const { slowStartMs = 0 } = pool;
  const rule = { ...DEFAULTS, ...withoutUndefined(pool.ejection) };
  if (pool.ejection?.maxEjectMs !== undefined && rule.maxEjectMs < rule.ejectMs)
    report(["ejection", "maxEjectMs"], `must not be less than \`ejectMs\`, ${rule.ejectMs}`);
  const isByDefault = pool.sticky === undefined && !KEYED_POLICIES.test(pool.policy ?? "");
  const isOn = rule.maxEjectedPercent > 0 && (pool.ejection !== undefined || isByDefault);
  if (pool.hedge === true && !isByDefault)
    report(["hedge"], `has no effect with \`${chooserOf(pool)}\`, where each request has its instance`);
  return {
    ...(isOn && { ejection: rule }),
    ...(pool.hedge === true && { hedge: true }),
    ...(slowStartMs > 0 && { slowStartMs }),
    ...(pool.retryBudget !== undefined && {
      retryBudget: { ...RETRY_BUDGET, ...withoutUndefined(pool.retryBudget) },
    }),
  };
}

function chooserOf({ sticky, policy }: EjectionInput): string {
  return sticky === undefined ? `policy: "${policy}"` : "sticky";
}

function withoutUndefined<T extends object>(keys: T | undefined): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(keys ?? {}).filter(([, value]) => value !== undefined)) as never;
}
