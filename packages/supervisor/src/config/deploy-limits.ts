/** The keys of `deploy.limits`: by how much a release may be worse than the one in service. */
import { DEFAULT_LIMITS } from "../core/verdict-model.js";
import { count, fraction, milliseconds } from "./fields.js";

const POINTS = { min: 0.01, max: 100 };
const FACTOR = { min: 1, max: 100 };

export const deployLimitFields = {
  errorPoints: fraction(
    DEFAULT_LIMITS.errorPoints,
    "By how many percentage points the share of responses with status 500 and above may rise.",
    POINTS,
  ),
  resetPoints: fraction(
    DEFAULT_LIMITS.resetPoints,
    "By how many percentage points the share of requests may rise that are lost or cut off because their process or its connection was lost.",
    POINTS,
  ),
  p50Factor: fraction(
    DEFAULT_LIMITS.p50Factor,
    "By which factor the median duration of a route class may rise. This or `p50Ms` counts, whichever allows more.",
    FACTOR,
  ),
  p50Ms: milliseconds(DEFAULT_LIMITS.p50Ms, "By how many milliseconds the median duration may rise."),
  p99Factor: fraction(
    DEFAULT_LIMITS.p99Factor,
    "By which factor the 99th percentile of the durations of a route class may rise. This or `p99Ms` counts, whichever allows more.",
    FACTOR,
  ),
  p99Ms: milliseconds(DEFAULT_LIMITS.p99Ms, "By how many milliseconds the 99th percentile may rise."),
  crashes: count(
    DEFAULT_LIMITS.crashes,
    "How many more processes may crash than as many of the version in service do meanwhile.",
    { min: 0, max: 1000 },
  ),
  memoryMbPerMinute: count(
    DEFAULT_LIMITS.memoryMbPerMinute,
    "By how many megabytes (10⁶ bytes) a minute the memory of a process may grow faster than that of a process of the version in service of the same age.",
    { max: 100_000 },
  ),
};
