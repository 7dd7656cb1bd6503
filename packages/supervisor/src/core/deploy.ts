/** Decides the next step of a deploy, which tries a generation beside the one in service, from the verdicts of its pools. Pure. */
import { ALONE, type Arm, DEFAULT_LIMITS, type Verdict, type VerdictLimits } from "./verdict-model.js";

/** What a deploy does if it cannot decide in time whether the release is as good: promote it or roll it back. */
export type OnNoTraffic = "promote" | "rollback";

/** The keys of `deploy` in the configuration. */
export interface DeployConfig {
  /** The percentage of a pool's requests that all canaries together get. */
  canaryPercent: number;
  /**
   * The maximum time for comparing the canaries, in milliseconds; five times as long while a gross fault is possible; 0: they only have to
   * become ready.
   */
  judgeMs: number;
  onNoTraffic: OnNoTraffic;
  /** How long the processes of the former generation are kept warm for a rollback, in milliseconds; 0: not at all. */
  keepWarmMs: number;
  limits: VerdictLimits;
}

export const DEPLOY_DEFAULTS: DeployConfig = {
  canaryPercent: 10,
  judgeMs: 60_000,
  onNoTraffic: "promote",
  keepWarmMs: 300_000,
  limits: DEFAULT_LIMITS,
};

/** The beginning of the progress text when the first instances of a deploy are being started. */
export const FIRST_STEP = "starting the first instances of ";

/** One comparison of canaries with the generation in service, for display. */
export interface TestResult {
  /** For example `5xx` or `p99 /api/`. */
  name: string;
  verdict: Verdict;
  /** For example `+0.004 pp`; empty while nothing is known. */
  difference: string;
  /** For example `≤ +0.10 pp`. */
  limit: string;
  /** The ends of the interval of the difference, and the largest difference that is allowed, in one unit; null if unknown. */
  interval: readonly [low: number | null, high: number | null];
  most: number;
}

export interface Judgement {
  verdict: Verdict;
  tests: TestResult[];
  /** The tests that must pass and are undecided. */
  undecided: string[];
  canaryRequests: number;
  /** The requests to the version in service since the comparison started. */
  controlRequests: number;
  /** Whether the version in service has no ready process, and has had no request since the comparison started. */
  isAlone: boolean;
  /** Whether a test will probably fail, although that is not certain. */
  isDoubtful: boolean;
  /** Whether gross faults are excluded. */
  isClear: boolean;
  /** The percentage of the canaries' requests that got a 5xx or were lost. */
  failedPercent: number;
  /** The number of the canaries' late requests, if no request to them has ended and that is no coincidence; otherwise 0. */
  unended: number;
}

/** The time for the comparison: some is left, it is over, or the extra time for excluding gross faults is over, too. */
type TimeLeft = "some" | "over" | "none";

/** The factor for the time of the comparison until gross faults are excluded. */
export const LONGEST_FACTOR = 5;

/** The result of a check of all pools of a deploy. `isDecided` is false if the time is over and some tests are still undecided. */
export type NextStep =
  | { do: "wait" }
  | { do: "promote"; isDecided: true }
  | { do: "promote"; isDecided: false; reason: string }
  | { do: "rollBack"; isDecided: boolean; reason: string };

export function nextStep(
  judgements: ReadonlyMap<string, Judgement>,
  left: TimeLeft,
  onNoTraffic: OnNoTraffic,
): NextStep {
  const all = [...judgements];
  for (const [pool, { verdict, tests }] of all)
    if (verdict === "fail") return { do: "rollBack", isDecided: true, reason: failureText(pool, tests) };
  if (all.every(([, { verdict }]) => verdict === "pass")) return { do: "promote", isDecided: true };
  if (left !== "some")
    for (const [pool, { unended }] of all)
      if (unended > 0) return { do: "rollBack", isDecided: true, reason: unendedText(pool, unended) };
  if (left === "some" || (left === "over" && all.some(([, each]) => mayBecomeClear(each)))) return { do: "wait" };
  const reason = all.flatMap(([pool, judgement]) =>
    judgement.verdict === "wait" ? undecidedText(pool, judgement) : [],
  );
  if (onNoTraffic === "promote") return { do: "promote", isDecided: false, reason: reason.join("; ") };
  return { do: "rollBack", isDecided: false, reason: `could not tell: ${reason.join("; ")}` };
}

/** An operator's wishes for a deploy whose canaries are being judged. */
interface Steering {
  readonly isHeld: boolean;
  readonly wantsPromotion: boolean;
  /** Whether all canaries are ready, and gross faults are excluded as far as possible in a short time. */
  readonly mayPromote: boolean;
}

/** A worse release is rolled back, whatever the operator wants. */
export function steered(step: NextStep, { isHeld, wantsPromotion, mayPromote }: Steering): NextStep {
  if (step.do === "rollBack" && step.isDecided) return step;
  if (wantsPromotion) return mayPromote ? { do: "promote", isDecided: true } : { do: "wait" };
  return isHeld ? { do: "wait" } : step;
}

/** How long a promotion waits after the first comparison, until gross faults are excluded, and for a first request. In milliseconds. */
const PROMOTE_AFTER_MS = 15_000;
const PROMOTE_UNUSED_AFTER_MS = 3_000;

/** Whether an operator may put a release into service without its verdict. */
export function mayPromote(judgements: ReadonlyMap<string, Judgement>, judgedMs: number): boolean {
  return [...judgements.values()].every(({ isClear, isAlone, isDoubtful, canaryRequests, controlRequests }) => {
    if (isClear || (isAlone && !isDoubtful) || judgedMs >= PROMOTE_AFTER_MS) return true;
    return canaryRequests + controlRequests === 0 && judgedMs >= PROMOTE_UNUSED_AFTER_MS;
  });
}

/** Whether more time can exclude a gross fault, or confirm a likely result, judging by the number of requests so far. */
function mayBecomeClear({ verdict, isClear, isDoubtful, canaryRequests }: Judgement): boolean {
  return verdict === "wait" && (isDoubtful || !isClear) && canaryRequests * LONGEST_FACTOR >= CLEAR_REQUESTS;
}

/**
 * While no process of the version in service serves, waiting for a verdict would only prolong that, unless the release seems to be broken.
 */
export function isPointless(judgements: ReadonlyMap<string, Judgement>): boolean {
  const waiting = [...judgements.values()].filter(({ verdict }) => verdict === "wait");
  return waiting.length > 0 && waiting.every(({ isAlone, isDoubtful }) => isAlone && !isDoubtful);
}

/** Returns which pools fail most requests although the release was promoted, because it is no worse than the former one. */
export function failingText(judgements: ReadonlyMap<string, Judgement>): string[] {
  return [...judgements].flatMap(([pool, { failedPercent, canaryRequests, controlRequests }]) => {
    if (failedPercent <= 50 || canaryRequests < FAILING_REQUESTS) return [];
    const asBefore = controlRequests > 0 ? ", as before" : "";
    return [`${pool} fails: ${Math.round(failedPercent)} % of its requests got a 5xx or were lost${asBefore}`];
  });
}

/** A few failures of a few requests show little. */
const FAILING_REQUESTS = 10;

function undecidedText(pool: string, judgement: Judgement): string {
  const { undecided, canaryRequests, isClear, isDoubtful, isAlone } = judgement;
  if (isAlone) return `${pool} had no instance in service to compare the canaries with`;
  if (canaryRequests === 0) return `${pool} had no response from a canary to compare`;
  const responses = canaryRequests === 1 ? "1 response" : `${canaryRequests} responses`;
  const tests = undecided.join(", ") || "all";
  const found = isDoubtful ? ", which look worse" : isClear ? ", without a gross fault" : "";
  return `${pool} had ${responses} from canaries${found}, and these tests still waited: ${tests}`;
}

/**
 * The late requests to canaries raise an alarm if the probability is below this that all of them are of a kind that also stays open in
 * service.
 */
const UNENDED_ALARMS = 0.001;

/**
 * Returns the number of late requests to canaries that have not ended, if the canaries have responded to none at all and the requests in
 * service show that this is no coincidence; otherwise 0. This is for the end of a comparison without any response, in which no other test
 * has a result.
 * @param lateMs a request that was abandoned after more than this time was late
 */
export function unendedRequests(canary: Arm, control: Arm, lateMs: number): number {
  if (canary.requests > 0) return 0;
  const late = ({ open, durations }: Arm) => open + abandonedAfter(durations, lateMs);
  const [ofCanary, ofControl] = [late(canary), late(control)];
  // By Laplace's rule, few requests in service do not exclude that the next one stays open.
  const share = (ofControl + 1) / (ofControl + control.requests + 2);
  return share ** ofCanary < UNENDED_ALARMS ? ofCanary : 0;
}

function abandonedAfter(durations: Arm["durations"], lateMs: number): number {
  return Object.values(durations)
    .flatMap(({ edges, abandoned = [] }) => abandoned.filter((_, at) => (edges[at] as number) >= lateMs))
    .reduce((sum, count) => sum + count, 0);
}

function unendedText(pool: string, unended: number): string {
  const requests = unended === 1 ? "1 late request" : `${unended} late requests`;
  return `${pool} does not respond: its canaries have ${requests}, and have responded to none, unlike the instances in service`;
}

function failureText(pool: string, tests: readonly TestResult[]): string {
  const failed = tests.filter(({ verdict }) => verdict === "fail");
  const what = failed.some(({ name }) => name === ALONE)
    ? "fails, and nothing is in service to compare with"
    : "is worse than before";
  return `${pool} ${what}: ${figuresOf(failed) || "a test failed"}`;
}

function figuresOf(tests: readonly TestResult[]): string {
  return tests.map(({ name, difference, limit }) => `${name} ${difference} (${limit})`).join(", ");
}

const ENDS: Record<Verdict, string> = { fail: "failed", wait: "waited", pass: "passed" };

/** Returns the result of a pool's comparison at its end, for the history: a line for each verdict; an empty list without requests. */
export function comparisonTexts(pool: string, { tests, canaryRequests, controlRequests }: Judgement): string[] {
  if (canaryRequests === 0) return [];
  const lines = (["fail", "wait", "pass"] as const).flatMap((verdict) => {
    const some = tests.filter((test) => test.verdict === verdict && test.difference !== "");
    return some.length === 0 ? [] : [`${pool}: ${ENDS[verdict]}: ${figuresOf(some)}`];
  });
  return [`${pool}: compared ${canaryRequests} requests of canaries with ${controlRequests} in service`, ...lines];
}

/**
 * The canaries start with this many requests a second together, as far as their full share allows. That is enough to find a gross fault in
 * half a minute. If the pool gets 500 requests a second, it is one in a hundred.
 */
const FIRST_PER_SECOND = 5;
/** How many requests without a fault exclude a gross fault, and how many are needed to pass all tests. */
const CLEAR_REQUESTS = 50;
const PASS_REQUESTS = 1500;
/**
 * If gross faults are not excluded after this part of the time, the share grows by the first factor; by the second one while a test is
 * doubtful.
 */
const FIRST_PART = 0.45;
const NEXT_FACTORS = [4, 2] as const;

export interface CanaryProgress {
  /** The time since the comparison started, in milliseconds. */
  readonly elapsedMs: number;
  /** The rate of requests to the whole pool, per second; 0 if unknown. */
  readonly rate: number;
  readonly isDoubtful: boolean;
  readonly isClear: boolean;
}

/**
 * Returns the percentage of the requests that canaries get now.
 * @param full their percentage once gross faults are excluded
 */
export function canaryPercentNow(progress: CanaryProgress, full: number, judgeMs: number): number {
  const { elapsedMs, rate, isDoubtful, isClear } = progress;
  if (isClear && !isDoubtful) return full;
  const first = rate > 0 ? (100 * FIRST_PER_SECOND) / rate : 1;
  const factor = elapsedMs < FIRST_PART * judgeMs ? 1 : NEXT_FACTORS[isDoubtful ? 1 : 0];
  return Math.min(full, roundedDown(first * factor));
}

const STEPS = [1, 1.5, 2, 3, 5, 7];
/** A percentage this close below a step is rounded up to it, because the measured rate is never exactly the same. */
const TOLERANCE = 1.2;
const LEAST_PERCENT = 0.1;

/** Returns a number that does not change with each request: 0.1, 0.15, 0.2 … 5, 7, 10 … */
function roundedDown(percent: number): number {
  const ten = 10 ** Math.floor(Math.log10(percent * TOLERANCE));
  const step = STEPS.findLast((each) => each * ten <= percent * TOLERANCE) ?? 1;
  return Math.max(LEAST_PERCENT, Number((step * ten).toPrecision(2)));
}

/** Returns what a comparison of a pool can show, before its canaries have had a request. */
export function expectationText(pool: string, rate: number, config: DeployConfig): string {
  const { judgeMs, canaryPercent, onNoTraffic } = config;
  const full = (rate * canaryPercent) / 100;
  if (full <= 0) {
    const then = onNoTraffic === "promote" ? "goes on without a verdict" : "is rolled back";
    return `${pool}: no requests at present; without any, the release ${then} after ${judgeMs / 1000} s`;
  }
  const clearMs = (1000 * CLEAR_REQUESTS) / Math.min(FIRST_PER_SECOND, full);
  const passMs = clearMs + (1000 * PASS_REQUESTS) / full;
  const at = `${pool}: ${rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate)} requests/s`;
  if (passMs <= judgeMs) return `${at}: a verdict takes about ${roughly(passMs)}`;
  const judge = passMs > HOUR_MS ? "" : `, as with --judge ${Math.ceil((1.3 * passMs) / 60_000)}m`;
  if (clearMs > LONGEST_FACTOR * judgeMs)
    return `${at} are too few for a verdict in ${judgeMs / 1000} s: gross faults need about ${roughly(clearMs)}, a p99 ${roughly(passMs)}${judge}`;
  return `${at}: gross faults take about ${roughly(clearMs)} to find; a verdict on p99 takes about ${roughly(passMs)}${judge}`;
}

const HOUR_MS = 3_600_000;

function roughly(ms: number): string {
  if (ms < 100_000) return `${Math.round(ms / 5000) * 5 || 5} s`;
  return ms < 2 * HOUR_MS ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / HOUR_MS)} h`;
}

/** The share of the machine's memory that must be available for processes to be kept warm. */
const LEAST_AVAILABLE = 0.1;

/** Whether processes may be kept warm; null if unknown. */
export function hasRoomForWarm(memory: { availableBytes: number; totalBytes: number } | null): boolean {
  return memory === null || memory.availableBytes >= LEAST_AVAILABLE * memory.totalBytes;
}
