/** The keys of a pool that say how its instances are asked whether they are ready and well, and what they become. */
import type { HealthConfig } from "../core/model.js";
import { count, milliseconds, text } from "./fields.js";

const DEFAULTS = { intervalMs: 10_000, timeoutMs: 5_000, failures: 3, host: "localhost" };

export const healthFields = {
  readyPath: text(
    "A path that a new process is asked for, with GET, until the status is 2xx or 3xx; only then is it ready. Default: it is ready when it listens.",
  ),
  healthPath: text(
    "A path that an instance is asked for, with GET, for as long as it serves; without good responses it is ended and started again. A process that limits its concurrency is not asked while it has a request. Default: nothing is asked.",
  ),
  healthIntervalMs: milliseconds(DEFAULTS.intervalMs, "From one response on `healthPath` to the next question."),
  healthTimeoutMs: milliseconds(DEFAULTS.timeoutMs, "How long a response on `healthPath` may take."),
  healthFailures: count(DEFAULTS.failures, "With so many failures on `healthPath` in a row an instance is ended.", {
    max: 1000,
  }),
  checkHost: text('The Host field of what is asked for on `readyPath` and `healthPath`. Default: `"localhost"`.'),
};

export type HealthInput = {
  [K in keyof typeof healthFields]?: (K extends "readyPath" | "healthPath" | "checkHost" ? string : number) | undefined;
};

/** What is wrong is reported by key. */
export function resolveHealth(keys: HealthInput, report: (path: string[], message: string) => void): HealthConfig {
  for (const key of ["readyPath", "healthPath"] as const) {
    const path = keys[key];
    if (path !== undefined && !/^\/[!-~]*$/.test(path))
      report([key], `must be a path that begins with /, without blanks, not ${JSON.stringify(path)}`);
  }
  for (const key of ["healthIntervalMs", "healthTimeoutMs", "healthFailures"] as const) {
    if (keys[key] !== undefined && keys.healthPath === undefined) report([key], "means nothing without `healthPath`");
  }
  if (keys.checkHost !== undefined && !/^[\w.:[\]-]+$/.test(keys.checkHost))
    report(["checkHost"], "must be a host, with a port or without one");
  return {
    ...(keys.readyPath !== undefined && { readyPath: keys.readyPath }),
    ...(keys.healthPath !== undefined && { healthPath: keys.healthPath }),
    healthIntervalMs: keys.healthIntervalMs ?? DEFAULTS.intervalMs,
    healthTimeoutMs: keys.healthTimeoutMs ?? DEFAULTS.timeoutMs,
    healthFailures: keys.healthFailures ?? DEFAULTS.failures,
    checkHost: keys.checkHost ?? DEFAULTS.host,
  };
}
