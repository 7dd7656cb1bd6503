/** The keys for a pool's readiness and health checks, and the settings they resolve to. */
import type { HealthConfig } from "@paceline/wire";
import { count, milliseconds, text } from "./fields.js";

const DEFAULTS = { intervalMs: 10_000, timeoutMs: 5_000, failures: 3, host: "localhost" };

export const healthFields = {
  readyPath: text(
    "A new process becomes ready when a GET of this path returns 2xx or 3xx. Default: it is ready when it listens.",
  ),
  healthPath: text(
    "Paceline sends GETs of this path to each instance as long as it serves, and restarts one that fails them. A process with limited concurrency gets no health request while it handles a request. Default: no health requests.",
  ),
  healthIntervalMs: milliseconds(DEFAULTS.intervalMs, "The time from a response on `healthPath` to the next request."),
  healthTimeoutMs: milliseconds(DEFAULTS.timeoutMs, "How long a response on `healthPath` may take."),
  healthFailures: count(DEFAULTS.failures, "An instance is ended after this many failures in a row.", {
    max: 1000,
  }),
  checkHost: text('The Host field of requests for `readyPath` and `healthPath`. Default: `"localhost"`.'),
};

type HealthInput = {
  [K in keyof typeof healthFields]?: (K extends "readyPath" | "healthPath" | "checkHost" ? string : number) | undefined;
};

/** Resolves the keys; problems are reported by key. */
export function resolveHealth(keys: HealthInput, report: (path: string[], message: string) => void): HealthConfig {
  for (const key of ["readyPath", "healthPath"] as const) {
    const path = keys[key];
    if (path !== undefined && !/^\/[!-~]*$/.test(path))
      report([key], `must be a path that begins with /, without spaces, not ${JSON.stringify(path)}`);
  }
  for (const key of ["healthIntervalMs", "healthTimeoutMs", "healthFailures"] as const) {
    if (keys[key] !== undefined && keys.healthPath === undefined) report([key], "is only valid with `healthPath`");
  }
  if (keys.checkHost !== undefined && !/^[\w.:[\]-]+$/.test(keys.checkHost))
    report(["checkHost"], "must be a host, with or without a port");
  return {
    ...(keys.readyPath !== undefined && { readyPath: keys.readyPath }),
    ...(keys.healthPath !== undefined && { healthPath: keys.healthPath }),
    healthIntervalMs: keys.healthIntervalMs ?? DEFAULTS.intervalMs,
    healthTimeoutMs: keys.healthTimeoutMs ?? DEFAULTS.timeoutMs,
    healthFailures: keys.healthFailures ?? DEFAULTS.failures,
    checkHost: keys.checkHost ?? DEFAULTS.host,
  };
}
