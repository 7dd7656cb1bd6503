/** What a verdict is made from and made of: the evidence, the limits, and the tests, also in words. Pure. */
import type { MemoryReading } from "./memory-slope.js";
import type { Durations } from "./quantiles.js";

export type Verdict = "pass" | "fail" | "wait";

/** What was counted at the processes of one arm since the canary took its first request. */
export interface Arm {
  readonly processes: number;
  /** Responses, and requests that were lost here. */
  readonly requests: number;
  /** Responses with status 500 and above. */
  readonly errors: number;
  /** Requests without a complete response, because the process or its connection was lost. */
  readonly resets: number;
  /** Requests that have had no complete response for far longer than usual, at least, and are still open. */
  readonly open: number;
  /** Unrequested exits. */
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
  /** Of canaries and fresh instances, the oldest first. */
  readonly memory: readonly MemoryReading[];
  /** All route classes of the pool's configuration, with requests or without. */
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
  /** In megabytes (10^6 bytes) a minute. */
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

/** The test of a release by itself: the share of its requests that get a 5xx or are lost. There is one only while there is nothing to compare. */
export const ALONE = "failures alone";

/** One figure of both arms. Without a value there are no requests, or no readings. */
export interface VerdictTest {
  /** Such as `5xx` or `p99 GET /`. */
  readonly name: string;
  readonly unit: "points" | "ms" | "MB/min" | "crashes";
  readonly verdict: Verdict;
  /** Whether the release must pass it. A route class with few of the requests may only fail. */
  readonly isRequired: boolean;
  readonly canary: number | null;
  readonly control: number | null;
  /** The ends of the interval of canary minus control; null while an end is unknown. */
  readonly interval: readonly [low: number | null, high: number | null];
  /** The largest difference that is allowed. */
  readonly limit: number;
  /** Whether it is likely, but not certain, to fail. */
  readonly isDoubtful: boolean;
  /** Whether it is not beyond its limit by far, as far as can be told. */
  readonly isClear: boolean;
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly tests: readonly VerdictTest[];
  /** Whether canary and control had requests: without any, nothing can be told. */
  readonly hasTraffic: boolean;
  /** Whether a test is likely, but not certain, to fail. */
  readonly isDoubtful: boolean;
  /** Whether gross faults are excluded by all tests that must pass. */
  readonly isClear: boolean;
}

/** The tests of a verdict in words, for people. */
const UNITS: Record<VerdictTest["unit"], { name: string; digits: number }> = {
  points: { name: "pp", digits: 2 },
  ms: { name: "ms", digits: 1 },
  "MB/min": { name: "MB/min", digits: 1 },
  crashes: { name: "", digits: 0 },
};

/** Returns the difference, such as `+0.13 pp`; empty while nothing is known. */
export function differenceText({ canary, control, unit }: VerdictTest): string {
  return canary === null || control === null ? "" : signed(canary - control, unit);
}

/** Returns the largest difference that is allowed, such as `≤ +1 pp`. */
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
