/**
 * Compares a new generation, the canary, with the one in service, the control: one test for each figure, and a verdict. Pure; it is
 * called as often as one likes, with all counts since the canary took its first request.
 *
 * A test passes when the whole interval of the difference lies within its limit, and fails when it lies wholly beyond. The lower end
 * of an interval lies above the true difference with a probability of `FALSE_ALARMS` at most in all tests and looks together, so
 * that a release within all limits is taken back no more often. The upper end lies below the true difference with a probability of
 * `MISSES` at most in each test: all tests must pass, so a release beyond any limit is accepted no more often than that.
 */
import { boundOf, type Count, ShareComparison } from "./evidence.js";
import { type MemoryReading, memorySlope } from "./memory-slope.js";
import { type Durations, P50, P99, QuantileComparison, type QuantileRule, type Slack } from "./quantiles.js";

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
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly tests: readonly VerdictTest[];
  /** Whether canary and control had requests: without any, nothing can be told. */
  readonly hasTraffic: boolean;
}

/** The error rates that the documentation states. */
export const FALSE_ALARMS = 0.01;
export const MISSES = 0.05;

/** The evidence beyond the limit from which a test that waits is doubtful. */
const DOUBT = Math.log(5);

/** How the false alarms are divided among the tests; those of durations again among the route classes. */
const ALARM_SHARES = { errors: 0.3, resets: 0.05, open: 0.05, p50: 0.2, p99: 0.3, memory: 0.1 };

/** A route class with a smaller share of the requests has too few for a release to pass in time. */
const REQUIRED_SHARE = 0.2;

/** @param isBrief omits the intervals of shares and durations, which take most of the time */
export function judge(evidence: Evidence, limits: VerdictLimits, isBrief = false): Judgement {
  const { canary, control, classes } = evidence;
  const tests = [
    shareTest("5xx", evidence, "errors", limits.errorPoints, isBrief),
    shareTest("resets", evidence, "resets", limits.resetPoints, isBrief),
    openTest(evidence, limits.resetPoints, isBrief),
    ...classes.flatMap((name) => durationTests(name, evidence, limits, isBrief)),
    crashTest(evidence, limits.crashes),
    memoryTest(evidence, limits.memoryMbPerMinute),
  ];
  const hasTraffic = canary.requests > 0 && control.requests > 0;
  return { verdict: verdictOf(tests, hasTraffic), tests, hasTraffic };
}

function verdictOf(tests: readonly VerdictTest[], hasTraffic: boolean): Verdict {
  if (tests.some(({ verdict }) => verdict === "fail")) return "fail";
  const passes = tests.every(({ verdict, isRequired }) => verdict === "pass" || !isRequired);
  return passes && hasTraffic ? "pass" : "wait";
}

interface Comparison {
  readonly estimate: number;
  against(difference: number, enough: number): number;
}

interface Compared {
  readonly limit: number;
  readonly alarms: number;
  /** The smallest and the largest difference. */
  readonly from: number;
  readonly to: number;
  readonly isBrief: boolean;
}

/** Judges a difference, and finds its interval. The limit lies outside the interval if the evidence against it is enough. */
function compared(
  comparison: Comparison,
  { limit, alarms, from, to, isBrief }: Compared,
): Pick<VerdictTest, "verdict" | "isDoubtful" | "interval"> {
  const { estimate } = comparison;
  const [alarm, miss] = [Math.log(1 / alarms), Math.log(1 / MISSES)];
  const against = (difference: number, enough: number) => comparison.against(difference, enough);
  const isBeyond = estimate > limit;
  const enough = isBeyond ? alarm : miss;
  const isCertain = against(limit, enough) >= enough;
  const verdict = !isCertain ? "wait" : isBeyond ? "fail" : "pass";
  const isDoubtful = isBeyond && !isCertain && against(limit, DOUBT) >= DOUBT;
  if (isBrief) return { verdict, isDoubtful, interval: [null, null] };
  const interval = [boundOf(against, estimate, from, alarm), boundOf(against, estimate, to, miss)] as const;
  return { verdict, isDoubtful, interval };
}

function shareTest(
  name: string,
  { canary, control }: Evidence,
  key: "errors" | "resets",
  limit: number,
  isBrief: boolean,
): VerdictTest {
  const count = (arm: Arm): Count => ({ hits: arm[key], total: arm.requests });
  const comparison = new ShareComparison(count(canary), count(control));
  const alarms = FALSE_ALARMS * ALARM_SHARES[key];
  const { verdict, isDoubtful, interval } = compared(comparison, {
    limit: limit / 100,
    alarms,
    from: -1,
    to: 1,
    isBrief,
  });
  const points = (arm: Arm) => (arm.requests === 0 ? null : (100 * arm[key]) / arm.requests);
  return {
    name,
    unit: "points",
    ...{ verdict, isRequired: true, canary: points(canary), control: points(control) },
    ...{ interval: scaled(interval, 100), limit, isDoubtful },
  };
}

/** A canary may have so many times the share of open requests that the control has: long polls and streams stay open in both. */
const OPEN_FACTOR = 3;

/** Open requests had no response to count, so they are a share of themselves and the counted ones. */
function openTest({ canary, control }: Evidence, points: number, isBrief: boolean): VerdictTest {
  const count = ({ open, requests }: Arm): Count => ({ hits: open, total: open + requests });
  const share = ({ hits, total }: Count) => (total === 0 ? 0 : hits / total);
  const [ofCanary, ofControl] = [count(canary), count(control)];
  const limit = Math.min(0.99, Math.max(points / 100, (OPEN_FACTOR - 1) * share(ofControl)));
  const { verdict, isDoubtful, interval } = compared(new ShareComparison(ofCanary, ofControl), {
    ...{ limit, alarms: FALSE_ALARMS * ALARM_SHARES.open, from: -1, to: 1, isBrief },
  });
  const shown = (each: Count) => (each.total === 0 ? null : 100 * share(each));
  return {
    name: "open",
    unit: "points",
    // Where requests stay open for long anyway, few of them end in time to pass.
    ...{ verdict, isRequired: control.open === 0, canary: shown(ofCanary), control: shown(ofControl) },
    ...{ interval: scaled(interval, 100), limit: 100 * limit, isDoubtful },
  };
}

function scaled([low, high]: VerdictTest["interval"], factor: number): VerdictTest["interval"] {
  return [low === null ? null : low * factor, high === null ? null : high * factor];
}

/** An interval of durations ends at this multiple of the limit, or has no end. */
const LONGEST = 1000;

function durationTests(route: string, evidence: Evidence, limits: VerdictLimits, isBrief: boolean): VerdictTest[] {
  const { canary, control, fresh, classes } = evidence;
  const isRequired = total(control, route) >= REQUIRED_SHARE * sum(classes.map((each) => total(control, each)));
  const test = (key: "p50" | "p99", rule: QuantileRule, against: Arm, slack: Slack): VerdictTest => {
    const comparison = new QuantileComparison(of(canary, route), of(against, route), rule, slack);
    const { canaryMs, controlMs } = comparison;
    const alarms = (FALSE_ALARMS * ALARM_SHARES[key]) / classes.length;
    const allowed = comparison.allowedMs(controlMs ?? 0);
    const from = -(controlMs ?? 0) / allowed;
    const to = Math.max(LONGEST, 2 * comparison.estimate);
    const { verdict, isDoubtful, interval } = compared(comparison, { limit: 1, alarms, from, to, isBrief });
    return {
      name: `${key} ${route}`,
      unit: "ms",
      ...{ verdict, isRequired, canary: canaryMs, control: controlMs },
      ...{ interval: scaled(interval, allowed), limit: allowed, isDoubtful },
    };
  };
  // A median depends on the age of a process, so it is compared with processes of the same age.
  const p50 = test("p50", P50, fresh ?? control, { factor: limits.p50Factor, ms: limits.p50Ms });
  const slack = { factor: limits.p99Factor, ms: limits.p99Ms };
  const p99 = test("p99", P99, control, slack);
  if (p99.verdict !== "fail" || fresh === null) return [p50, p99];
  // Fresh instances have too few requests for a 99th percentile of their own; but if they are as slow, age is the reason.
  const isAge = new QuantileComparison(of(canary, route), of(fresh, route), P99, slack).estimate <= 1;
  return [p50, isAge ? { ...p99, verdict: "wait" } : p99];
}

function of({ durations }: Arm, route: string): Durations {
  return durations[route] ?? { edges: [0], counts: [] };
}

function total(arm: Arm, route: string): number {
  return sum(of(arm, route).counts);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}

/** Crashes are counted, not estimated: a canary may have as many more than the control as the limit says. */
function crashTest({ canary, control }: Evidence, limit: number): VerdictTest {
  const expected = control.processes === 0 ? 0 : (control.crashes / control.processes) * canary.processes;
  const difference = canary.crashes - Math.ceil(expected);
  return {
    name: "crashes",
    unit: "crashes",
    verdict: difference > limit ? "fail" : "pass",
    isRequired: true,
    canary: canary.crashes,
    control: expected,
    interval: [difference, difference],
    limit,
    isDoubtful: false,
  };
}

function memoryTest({ memory, fresh }: Evidence, limit: number): VerdictTest {
  const slope = memorySlope(memory);
  const { low = null, high = null } = slope ?? {};
  const verdict = low !== null && low > limit ? "fail" : high !== null && high < limit ? "pass" : "wait";
  // Without instances of the same age, growth after the start cannot be told from a leak.
  const test = { name: "memory", unit: "MB/min", limit, interval: [low, high], control: 0, isDoubtful: false } as const;
  if (fresh === null) return { ...test, verdict: "wait", isRequired: false, canary: null, interval: [null, null] };
  return { ...test, verdict, isRequired: true, canary: slope?.estimate ?? null };
}
