/** The keys for a pool's readiness and health checks, and their conversion. */
import type { HealthConfig } from "@paceline/wire";
import type { WarmupConfig } from "../core/model.js";
import { count, milliseconds, text, texts } from "./fields.js";

const WARMUP_TIMEOUT_MS = 10_000;
const MAX_WARMUP_PATHS = 50;
const PATH = /^\/[!-~]*$/;
const DEFAULTS = { intervalMs: 10_000, timeoutMs: 5_000, failures: 3, fall: 2, rise: 2, host: "localhost" };

/** The keys that describe the requests for `healthPath`. */
const NEED_PATH = ["healthIntervalMs", "healthTimeoutMs", "healthFailures", "healthFall", "healthRise"] as const;

export const healthFields = {
  readyPath: text(
    "A new process becomes ready when a GET of this path returns 2xx or 3xx. Default: the process is ready when it listens.",
  ),
  healthPath: text(
    "Paceline sends GETs of this path to each serving instance, and restarts an instance that fails them. A process with limited concurrency gets no health request while it handles a request. Default: no health requests.",
  ),
  healthIntervalMs: milliseconds(
    DEFAULTS.intervalMs,
    'The time from a response on `healthPath` to the next request, with a random deviation of up to a tenth. With `mode: "tcp"`: the time between two connections that check the instance; without this key there are no such checks.',
  ),
  healthTimeoutMs: milliseconds(DEFAULTS.timeoutMs, "How long a response on `healthPath` may take."),
  healthFailures: count(
    DEFAULTS.failures,
    "An instance is ended after this many failures in a row. `0`: it is not ended, but gets no requests until it is healthy; this suits a `proxy` whose upstream fails.",
    { min: 0, max: 1000 },
  ),
  healthFall: count(
    DEFAULTS.fall,
    "An instance gets no new requests after this many failures in a row, within `ejection.maxEjectedPercent` of its pool. `0`: it gets requests until it is ended.",
    { min: 0, max: 1000 },
  ),
  healthRise: count(DEFAULTS.rise, "After this many good responses in a row, an instance gets requests again.", {
    max: 1000,
  }),
  checkHost: text('The Host field of requests for `readyPath`, `healthPath` and `warmup`. Default: `"localhost"`.'),
  warmup: texts(
    'Paths such as `["/", "/search?q=a"]` that Paceline requests from a new process before the process takes traffic. Paceline repeats them in rounds until a round is no faster than the rounds before. See [operations.md](operations.md#warm-up). Default: none.',
  ),
  warmupTimeoutMs: milliseconds(
    WARMUP_TIMEOUT_MS,
    "How long `warmup` may take. Then the process takes traffic, with a warning. The warm-up always ends before `readyTimeoutMs`.",
  ),
};

type HealthInput = {
  [K in Exclude<keyof typeof healthFields, "warmup">]?:
    | (K extends "readyPath" | "healthPath" | "checkHost" ? string : number)
    | undefined;
};

/** Resolves `warmup`; null if there is none. Problems are reported by key. */
export function resolveWarmup(
  { warmup, warmupTimeoutMs }: { warmup?: string[] | undefined; warmupTimeoutMs?: number | undefined },
  report: (path: (string | number)[], message: string) => void,
): WarmupConfig | null {
  if (warmup === undefined) {
    if (warmupTimeoutMs !== undefined) report(["warmupTimeoutMs"], "is only valid with `warmup`");
    return null;
  }
  for (const [at, path] of warmup.entries()) {
    if (!PATH.test(path))
      report(["warmup", at], `must be a path that begins with /, without spaces, not ${JSON.stringify(path)}`);
  }
  if (warmup.length > MAX_WARMUP_PATHS) report(["warmup"], `cannot have more than ${MAX_WARMUP_PATHS} paths`);
  return warmup.length === 0 ? null : { paths: warmup, timeoutMs: warmupTimeoutMs ?? WARMUP_TIMEOUT_MS };
}

/**
 * Resolves the keys; problems are reported by key.
 * @param isTcp whether a check is a connection instead of a request
 */
export function resolveHealth(
  keys: HealthInput,
  isTcp: boolean,
  report: (path: string[], message: string) => void,
): HealthConfig {
  for (const key of ["readyPath", "healthPath"] as const) {
    const path = keys[key];
    if (path !== undefined && !PATH.test(path))
      report([key], `must be a path that begins with /, without spaces, not ${JSON.stringify(path)}`);
  }
  const connects = isTcp && keys.healthIntervalMs !== undefined;
  const isChecked = keys.healthPath !== undefined || connects;
  for (const key of NEED_PATH) {
    if (keys[key] === undefined || keys.healthPath !== undefined || connects) continue;
    report([key], `is only valid with \`${isTcp ? "healthIntervalMs" : "healthPath"}\``);
  }
  const failures = keys.healthFailures ?? DEFAULTS.failures;
  if (isChecked && failures > 0 && (keys.healthFall ?? 0) > failures)
    report(
      ["healthFall"],
      `cannot be more than \`healthFailures\`, which is ${failures}: the instance is ended before`,
    );
  if (keys.checkHost !== undefined && !/^[\w.:[\]-]+$/.test(keys.checkHost))
    report(["checkHost"], "must be a host, with or without a port");
  return {
    ...(keys.readyPath !== undefined && { readyPath: keys.readyPath }),
    ...(keys.healthPath !== undefined && { healthPath: keys.healthPath }),
    ...(connects && { healthConnects: true }),
    healthIntervalMs: keys.healthIntervalMs ?? DEFAULTS.intervalMs,
    healthTimeoutMs: keys.healthTimeoutMs ?? DEFAULTS.timeoutMs,
    healthFailures: failures,
    ...(isChecked && {
      healthFall: keys.healthFall ?? DEFAULTS.fall,
      healthRise: keys.healthRise ?? DEFAULTS.rise,
    }),
    checkHost: keys.checkHost ?? DEFAULTS.host,
  };
}
