/**
 * Compares a new generation, the canary, with the one in service, the control: one test for each figure, and a verdict. Pure; it may be
 * called at any time and as often as wanted, with all counts since the canary got its first request.
 *
 * A test passes when the whole interval of the difference lies within its limit, and fails when all of it lies beyond. The lower end of an
 * interval lies above the true difference with a probability of at most `FALSE_ALARMS`, in all tests and looks together. So a release
 * within all limits is rolled back no more often than that. The upper end lies below the true difference with a probability of at most
 * `MISSES` in each test. All tests must pass, so a release beyond any limit is accepted no more often than that.
 */
import { boundOf, type Count, evidenceAgainst, priorOf, RARE, ShareComparison, type Side } from "./evidence.js";
import { memorySlope } from "./memory-slope.js";
import {
  type Durations,
  P50,
  P99,
  QuantileComparison,
  type QuantileRule,
  type Slack,
  shareAbove,
  slowest,
} from "./quantiles.js";
import {
  ALONE,
  type Arm,
  type Evidence,
  type Judgement,
  type Verdict,
  type VerdictLimits,
  type VerdictTest,
} from "./verdict-model.js";

/**
 * The error rates in the documentation. The rate of false alarms is valid at a limit: a release as good as the control causes far fewer.
 */
export const FALSE_ALARMS = 0.05;
const MISSES = 0.05;

/** The evidence beyond the limit from which on an undecided test is doubtful. */
const DOUBT = Math.log(5);

/**
 * How the false alarms are divided among the tests. The part for durations is divided again among the route classes by their requests. The
 * rest is reserved, because these parts change a little from look to look.
 */
export const ALARM_SHARES = { errors: 0.3, resets: 0.05, open: 0.03, p50: 0.1, p99: 0.45, memory: 0.02, alone: 0.02 };

/**
 * A fault is gross if at least this share of the requests fails or takes longer than a limit: the first share for the limit of the p99, the
 * second one for that of the p50.
 */
const GROSS = 0.08;
const GROSS_P50 = 0.75;
/** The evidence at which a gross fault is excluded. */
const CLEAR = Math.log(30);

/** A route class with a smaller share of the requests has too few for a release to pass in time. */
const REQUIRED_PART = 0.2;

/** @param isBrief omits the intervals of shares and durations, which take most of the time */
export function judge(evidence: Evidence, limits: VerdictLimits, isBrief = false): Judgement {
  const { canary, control, classes } = evidence;
  const tests = [
    shareTest("5xx", evidence, "errors", limits.errorPoints, isBrief),
    shareTest("resets", evidence, "resets", limits.resetPoints, isBrief),
    openTest(evidence, limits.resetPoints, isBrief),
    ...aloneTest(evidence, isBrief),
    ...classes.flatMap((name) => durationTests(name, evidence, limits, isBrief)),
    crashTest(evidence, limits.crashes),
    memoryTest(evidence, limits.memoryMbPerMinute),
  ];
  const hasTraffic = canary.requests > 0 && control.requests > 0;
  return {
    verdict: verdictOf(tests, hasTraffic),
    ...{ tests, hasTraffic },
    isDoubtful: tests.some((test) => test.isDoubtful),
    isClear: hasTraffic && tests.every((test) => test.isClear || !test.isRequired),
  };
}

function verdictOf(tests: readonly VerdictTest[], hasTraffic: boolean): Verdict {
  if (tests.some(({ verdict }) => verdict === "fail")) return "fail";
  const passes = tests.every(({ verdict, isRequired }) => verdict === "pass" || !isRequired);
  return passes && hasTraffic ? "pass" : "wait";
}

interface Comparison {
  readonly estimate: number;
  against(difference: number, enough: number, side: Side): number;
}

interface Compared {
  readonly limit: number;
  readonly alarms: number;
  /** The smallest and the largest difference. */
  readonly from: number;
  readonly to: number;
  readonly isBrief: boolean;
}

/** Tests a difference, and finds its interval. The limit lies outside the interval if the evidence against it is strong enough. */
function compared(
  comparison: Comparison,
  { limit, alarms, from, to, isBrief }: Compared,
): Pick<VerdictTest, "verdict" | "isDoubtful" | "interval"> {
  const { estimate } = comparison;
  const [alarm, miss] = [Math.log(1 / alarms), Math.log(1 / MISSES)];
  const isBeyond = estimate > limit;
  const side: Side = isBeyond ? "beyond" : "within";
  const enough = isBeyond ? alarm : miss;
  const isCertain = comparison.against(limit, enough, side) >= enough;
  const verdict = !isCertain ? "wait" : isBeyond ? "fail" : "pass";
  const isDoubtful = isBeyond && !isCertain && comparison.against(limit, DOUBT, side) >= DOUBT;
  if (isBrief) return { verdict, isDoubtful, interval: [null, null] };
  const against = (of: Side) => (difference: number, wanted: number) => comparison.against(difference, wanted, of);
  const interval = [
    boundOf(against("beyond"), estimate, from, alarm),
    boundOf(against("within"), estimate, to, miss),
  ] as const;
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
    ...{ interval: scaled(interval, 100), limit, isDoubtful, isClear: isClearOf(count(canary), count(control)) },
  };
}

/** If the version in service has had fewer requests than this, a release is also judged alone. */
const FEW = 10;
/** A release that fails a larger share of its requests than this is broken, whatever was in service. */
const MOST_ALONE = 0.5;
const BROKEN = priorOf([9, 1, 1], [3, 2, 1]);

/**
 * The absolute rule for a release with nothing to compare with: it fails if it is certain that most of its requests fail. It is valid by
 * the same martingale as the other tests: a release that fails half of its requests is rolled back by it with at most the probability of
 * its alarms.
 */
function aloneTest({ canary, control }: Evidence, isBrief: boolean): VerdictTest[] {
  // A response that was cut off may also be a 5xx.
  const failed = ({ errors, resets, requests }: Arm) => Math.min(requests, errors + resets);
  // If most of the few requests in service have failed, the release is no worse.
  if (control.requests >= FEW || 2 * failed(control) > control.requests) return [];
  const count: Count = { hits: failed(canary), total: canary.requests };
  const share = count.total === 0 ? 0 : count.hits / count.total;
  const isBeyond = share > MOST_ALONE;
  const against = (of: number) => evidenceAgainst(count, of, BROKEN);
  const alarm = Math.log(1 / (FALSE_ALARMS * ALARM_SHARES.alone));
  const evidence = isBeyond ? against(MOST_ALONE) : 0;
  const low = isBrief || count.hits === 0 ? null : boundOf(against, share, 0, alarm);
  return [
    {
      name: ALONE,
      unit: "points",
      verdict: evidence >= alarm ? "fail" : "wait",
      ...{ isRequired: false, canary: count.total === 0 ? null : 100 * share, control: 0 },
      ...{ interval: scaled([low, null], 100), limit: 100 * MOST_ALONE, isClear: !isBeyond },
      isDoubtful: evidence >= DOUBT && evidence < alarm,
    },
  ];
}

/** After this many requests, it is known whether nearly everything fails in the control. */
const MANY = 50;

/** Whether the canary's share does not exceed the control's by a gross fault. */
function isClearOf(canary: Count, control: Count): boolean {
  const share = control.total === 0 ? 0 : control.hits / control.total;
  // The canary's share would have to exceed 1.
  if (GROSS + share >= 1 && control.total >= MANY) return true;
  const gross = Math.min(0.99, GROSS + share);
  return canary.hits < gross * canary.total && evidenceAgainst(canary, gross, RARE.within) >= CLEAR;
}

/** A canary may have this multiple of the control's share of open requests, because long polls and streams stay open in both. */
const OPEN_FACTOR = 3;

/** Open requests have no response that could be counted, so their share is their part of open and counted requests together. */
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
    // If requests stay open for long in any case, few of them end in time for the test to pass.
    ...{ verdict, isRequired: control.open === 0, canary: shown(ofCanary), control: shown(ofControl) },
    ...{ interval: scaled(interval, 100), limit: 100 * limit, isDoubtful, isClear: isClearOf(ofCanary, ofControl) },
  };
}

function scaled([low, high]: VerdictTest["interval"], factor: number): VerdictTest["interval"] {
  return [low === null ? null : low * factor, high === null ? null : high * factor];
}

/** An interval of durations ends at this multiple of the limit, or has no end. */
const LONGEST = 1000;

/** The part of the false alarms for a route class with hardly any requests. */
const LEAST_PART = 0.001;

/** If the canary has more than this multiple of the slow requests of fresh instances, its age is not the reason. */
const AGE_FACTOR = 2;

const NONE: Durations = { edges: [0], counts: [] };

function durationTests(route: string, evidence: Evidence, limits: VerdictLimits, isBrief: boolean): VerdictTest[] {
  const { canary, control, fresh, classes } = evidence;
  const part = total(control, route) / Math.max(1, sum(classes.map((each) => total(control, each))));
  const test = (key: "p50" | "p99", rule: QuantileRule, against: Arm, slack: Slack, gross: number): VerdictTest => {
    const comparison = new QuantileComparison(of(canary, route), of(against, route), rule, slack);
    const { canaryMs, controlMs } = comparison;
    const alarms = FALSE_ALARMS * ALARM_SHARES[key] * Math.max(LEAST_PART, part);
    const allowed = comparison.allowedMs(controlMs ?? 0);
    const from = -(controlMs ?? 0) / allowed;
    const to = Math.max(LONGEST, 2 * comparison.estimate);
    const { verdict, isDoubtful, interval } = compared(comparison, { limit: 1, alarms, from, to, isBrief });
    return {
      name: `${key} ${route}`,
      unit: "ms",
      ...{ verdict, isRequired: part >= REQUIRED_PART, canary: canaryMs, control: controlMs },
      ...{ interval: scaled(interval, allowed), limit: allowed, isDoubtful },
      isClear: comparison.againstBeyond(gross) >= CLEAR,
    };
  };
  // A median depends on the age of a process, so it is compared with processes of the same age.
  const p50 = test("p50", P50, fresh ?? control, { factor: limits.p50Factor, ms: limits.p50Ms }, GROSS_P50);
  const slack = { factor: limits.p99Factor, ms: limits.p99Ms };
  const p99 = test("p99", P99, control, slack, GROSS);
  if (fresh === null || p99.control === null || (p99.verdict !== "fail" && !p99.isDoubtful)) return [p50, p99];
  // Fresh instances have too few requests for a 99th percentile of their own. But if they have as many slow requests, the age is the
  // reason.
  const slow = ({ durations }: Arm) => shareAbove(durations[route] ?? NONE, slowest(p99.control ?? 0, slack));
  const isAge = AGE_FACTOR * slow(fresh) >= slow(canary);
  return [p50, isAge ? { ...p99, verdict: "wait", isDoubtful: false } : p99];
}

function of({ durations }: Arm, route: string): Durations {
  return durations[route] ?? NONE;
}

function total(arm: Arm, route: string): number {
  return sum(of(arm, route).counts);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}

/** Crashes are counted, not estimated: a canary may have as many more than the control as the limit allows. */
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
    ...{ isDoubtful: false, isClear: difference <= limit },
  };
}

function memoryTest({ memory, fresh }: Evidence, limit: number): VerdictTest {
  const slope = memorySlope(memory);
  const { low = null, high = null } = slope ?? {};
  const verdict = low !== null && low > limit ? "fail" : high !== null && high < limit ? "pass" : "wait";
  // Without instances of the same age, growth after the start cannot be distinguished from a leak.
  const test = { name: "memory", unit: "MB/min", limit, interval: [low, high], control: 0, isDoubtful: false } as const;
  const isClear = verdict !== "fail";
  if (fresh === null)
    return { ...test, verdict: "wait", isRequired: false, isClear, canary: null, interval: [null, null] };
  return { ...test, verdict, isRequired: true, isClear, canary: slope?.estimate ?? null };
}
