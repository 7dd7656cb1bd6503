/** The input and output of a verdict: the evidence, the limits, and the tests, also as text. Pure. */
import type { MemoryReading } from "./memory-slope.js";
import type { Durations } from "./quantiles.js";

export type Verdict = "pass" | "fail" | "wait";

/** The counts of the processes of one arm since the canary got its first request. */
export interface Arm {
  readonly processes: number;
  /** Responses, and requests that were lost at this arm. */
  readonly requests: number;
  /** Responses with status 500 and above. */
  readonly errors: number;
  /** Requests without a complete response, because the process or its connection was lost. */
  readonly resets: number;
  /** The minimum number of requests that have had no complete response for far longer than usual, and are still open. */
  readonly open: number;
  /** Exits that nobody requested. */
  readonly crashes: number;
  /** By route class: the durations of responses. */
  readonly durations: Readonly<Record<string, Durations>>;
}

export interface Evidence {
  readonly canary: Arm;
  /** The whole generation in service. */
  readonly control: Arm;
  /** The instances of the generation in service that were started with the canary; null if there are none. */
  readonly fresh: Arm | null;
  /** The memory of canaries and fresh instances, oldest first. */
  readonly memory: readonly MemoryReading[];
  /** All route classes of the pool's configuration, with or without requests. */
  readonly classes: readonly string[];
}

/** The largest differences that a release may have. */
export interface VerdictLimits {
  /** In percentage points. */
  readonly errorPoints: number;
  readonly resetPoints: number;
  readonly p50Factor: number;
  readonly p50Ms: number;
  readonly p99Factor: number;
  readonly p99Ms: number;
  /** A number of crashes. */
  readonly crashes: number;
  /** In megabytes (10^6 bytes) per minute. */
  readonly memoryMbPerMinute: number;
}

export const DEFAULT_LIMITS: VerdictLimits = {
  errorPoints: 1,
  resetPoints: 0.5,
  p50Factor: 1.2,
  p50Ms: 2,
  p99Factor: 1.5,
  p99Ms: 10,
  crashes: 0,
  memoryMbPerMinute: 30,
};

/**
 * The test of a release alone: the share of its requests that get a 5xx or are lost. It exists only while there is nothing to compare with.
 */
export const ALONE = "failures alone";

/** One figure of both arms. Values are missing if there are no requests, or no readings. */
export interface VerdictTest {
  /** For example `5xx` or `p99 GET /`. */
  readonly name: string;
  readonly unit: "points" | "ms" | "MB/min" | "crashes";
  readonly verdict: Verdict;
  /** Whether the release must pass it. A route class with only few requests can fail, but need not pass. */
  readonly isRequired: boolean;
  readonly canary: number | null;
  readonly control: number | null;
  /** The ends of the interval of canary minus control; null while an end is unknown. */
  readonly interval: readonly [low: number | null, high: number | null];
  /** The largest difference that is allowed. */
  readonly limit: number;
  /** Whether it will probably fail, although that is not certain. */
  readonly isDoubtful: boolean;
  /** Whether it is not far beyond its limit, as far as known. */
  readonly isClear: boolean;
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly tests: readonly VerdictTest[];
  /** Whether canary and control had requests. Without any, nothing can be concluded. */
  readonly hasTraffic: boolean;
  /** Whether a test will probably fail, although that is not certain. */
  readonly isDoubtful: boolean;
  /** Whether all tests that must pass exclude gross faults. */
  readonly isClear: boolean;
}

/** The units of a verdict's tests, for display. */
const UNITS: Record<VerdictTest["unit"], { name: string; digits: number }> = {
  points: { name: "pp", digits: 2 },
  ms: { name: "ms", digits: 1 },
  "MB/min": { name: "MB/min", digits: 1 },
  crashes: { name: "", digits: 0 },
};

/** Returns the difference, for example `+0.13 pp`; empty while nothing is known. */
export function differenceText({ canary, control, unit }: VerdictTest): string {
  return canary === null || control === null ? "" : signed(canary - control, unit);
}

/** Returns the largest difference that is allowed, for example `≤ +1 pp`. */
export function limitText({ limit, unit }: VerdictTest): string {
  return `≤ ${signed(limit, unit)}`;
}

function signed(value: number, unit: VerdictTest["unit"]): string {
  const { name, digits } = UNITS[unit];
  return `${numberText(value, digits)} ${name}`.trimEnd();
}

function numberText(value: number, digits: number): string {
  const text = value.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1");
  const short = text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  return Number(short) > 0 ? `+${short}` : short;
}
