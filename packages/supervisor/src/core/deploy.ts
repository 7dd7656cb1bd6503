/** What a deploy does next: its trial of a generation beside the one in service, from the verdicts of its pools. Pure. */
import { DEFAULT_LIMITS, type Verdict, type VerdictLimits } from "./verdict.js";

/** What a deploy does if it cannot tell in time whether the release is as good: go on, or go back. */
export type OnNoTraffic = "promote" | "rollback";

/** The keys of `deploy` in the configuration. */
export interface DeployConfig {
  /** The percentage of a pool's requests that the canaries get together. */
  canaryPercent: number;
  /** How long the canaries are compared at most; 0: they only have to become and stay ready. */
  judgeMs: number;
  onNoTraffic: OnNoTraffic;
  /** How long the processes of the former generation are kept warm for a rollback; 0: not at all. */
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

/** How the text of progress begins when the first instances of a deploy are being started. */
export const FIRST_STEP = "starting the first instances of ";

/** One comparison of canaries with the generation in service, for people. */
export interface TestResult {
  /** Such as `5xx` or `p99 /api/`. */
  name: string;
  verdict: Verdict;
  /** Such as `+0.004 pp`; empty while nothing is known. */
  difference: string;
  /** Such as `≤ +0.10 pp`. */
  limit: string;
}

export interface Judgement {
  verdict: Verdict;
  tests: TestResult[];
  /** The tests that must pass and wait. */
  undecided: string[];
  canaryRequests: number;
}

/** What happens at a look at all pools of a deploy. `untold`: the time is over, and the tests still wait. */
export type NextStep =
  | { do: "wait" }
  | { do: "promote"; isTold: true }
  | { do: "promote"; isTold: false; reason: string }
  | { do: "takeBack"; isTold: boolean; reason: string };

/** @param isOver whether the time for the comparison is over */
export function nextStep(
  judgements: ReadonlyMap<string, Judgement>,
  isOver: boolean,
  onNoTraffic: OnNoTraffic,
): NextStep {
  const all = [...judgements];
  for (const [pool, { verdict, tests }] of all)
    if (verdict === "fail") return { do: "takeBack", isTold: true, reason: failureText(pool, tests) };
  if (all.every(([, { verdict }]) => verdict === "pass")) return { do: "promote", isTold: true };
  if (!isOver) return { do: "wait" };
  const reason = all.flatMap(([pool, judgement]) =>
    judgement.verdict === "wait" ? undecidedText(pool, judgement) : [],
  );
  if (onNoTraffic === "promote") return { do: "promote", isTold: false, reason: reason.join("; ") };
  return { do: "takeBack", isTold: false, reason: `could not tell: ${reason.join("; ")}` };
}

function undecidedText(pool: string, { undecided, canaryRequests }: Judgement): string {
  if (canaryRequests === 0) return `${pool} had no response from a canary to compare`;
  const responses = canaryRequests === 1 ? "1 response" : `${canaryRequests} responses`;
  return `${pool} had ${responses} from canaries, and these tests still waited: ${undecided.join(", ") || "all"}`;
}

function failureText(pool: string, tests: readonly TestResult[]): string {
  const failed = tests.filter(({ verdict }) => verdict === "fail");
  const texts = failed.map(({ name, difference, limit }) => `${name} ${difference} (${limit})`);
  return `${pool} is worse than before: ${texts.join(", ") || "a test failed"}`;
}

/** A canary begins with this percentage of the requests, so that few see a release that is badly broken. */
const FIRST_PERCENT = 1;
/** With that it gets so many requests, or the second number while a test is doubtful. Each tenth response a 5xx shows in those. */
const FIRST_REQUESTS = [60, 120] as const;
/** The longest time with that percentage, as a part of the whole time. */
const FIRST_PART = 0.4;

export interface CanaryProgress {
  /** Since the comparison began. */
  readonly elapsedMs: number;
  /** Those that the canaries have had. */
  readonly requests: number;
  /** Whether a test that waits is likely to fail. */
  readonly isDoubtful: boolean;
}

export const NO_PROGRESS: CanaryProgress = { elapsedMs: 0, requests: 0, isDoubtful: false };

/** Returns the percentage of the requests that canaries get now. @param full theirs after the beginning */
export function canaryPercentNow(progress: CanaryProgress, full: number, judgeMs: number): number {
  const { elapsedMs, requests, isDoubtful } = progress;
  const isBeginning = requests < FIRST_REQUESTS[isDoubtful ? 1 : 0] && elapsedMs < FIRST_PART * judgeMs;
  return isBeginning ? Math.min(FIRST_PERCENT, full) : full;
}

/** Which of the machine's memory must be available for processes to be kept warm. */
const LEAST_AVAILABLE = 0.1;

/** Whether processes may be kept warm; null: unknown. */
export function hasRoomForWarm(memory: { availableBytes: number; totalBytes: number } | null): boolean {
  return memory === null || memory.availableBytes >= LEAST_AVAILABLE * memory.totalBytes;
}
