/**
 * Decides when automatic certificates are ordered and renewed, and how to continue after each response of a CA. Each name has its own
 * certificate. Pure.
 */

/** How a CA checks that a name points to this fleet, in the default order. */
export const CHALLENGES = ["tls-alpn-01", "http-01"] as const;
export type ChallengeKind = (typeof CHALLENGES)[number];

/** Unix times in milliseconds, like all times of this file. */
export interface Validity {
  notBefore: number;
  notAfter: number;
}

/** When the CA wants a certificate to be renewed (RFC 9773). */
export interface RenewalWindow {
  start: number;
  end: number;
  /** A page that explains the reason; null if there is none. */
  explanation: string | null;
}

/** The state and plan of one name. It is stored, so that a restart does not repeat an order too soon. */
export interface NamePlan {
  readonly name: string;
  /** The certificate in use; null if there is none. */
  readonly issued: Validity | null;
  /** When the renewal starts; null without a certificate. */
  readonly renewAt: number | null;
  readonly window: RenewalWindow | null;
  /** When the CA is asked for the window again. */
  readonly askWindowAt: number;
  /** The orders of the last hour, and the certificates of the last week. */
  readonly orders: readonly number[];
  readonly issues: readonly number[];
  /** The challenges that failed in the last hour, except those on staging. */
  readonly failedChallenges: readonly number[];
  /** The number of failed rounds since the last certificate. A round tries each kind of challenge once. */
  readonly failures: number;
  /** The kinds that failed in this round. */
  readonly tried: readonly ChallengeKind[];
  /** The kind that succeeded last. */
  readonly proven: ChallengeKind | null;
  /** Whether the next order goes to the staging directory. */
  readonly isStagingNext: boolean;
  /** No order for this name starts before this time. */
  readonly retryAt: number;
  /** Whether an operator wants an order now. */
  readonly isForced: boolean;
  readonly lastError: OrderError | null;
}

export interface OrderError {
  /** Unix time in milliseconds. */
  readonly at: number;
  readonly message: string;
  /** Undefined if an earlier version has stored the failure, or if the error is not that of an order. */
  readonly kind?: OrderFailure["kind"] | undefined;
}

/** Limits that all names of a fleet share. */
export interface OrderBudget {
  /** The orders of the last hour. */
  readonly orders: readonly number[];
  /** Before this time there is no order, because the CA did not respond or refuses the account. */
  readonly pausedUntil: number;
  /** The number of consecutive failures. */
  readonly failures: number;
}

/** Settings from the configuration and the CA. */
export interface PlanRules {
  /** In the order in which they are tried; not empty. */
  readonly challenges: readonly ChallengeKind[];
  /** Whether a staging directory is known. */
  readonly hasStaging: boolean;
}

export type OrderFailure = {
  readonly message: string;
  /** How long the CA asks to wait. */
  readonly retryAfterMs?: number | undefined;
  readonly onStaging: boolean;
} & (
  | {
      /**
       * `unreachable`: no response, or 5xx. `limited`: a rate limit. `refused`: the CA refuses the name. `account`: it refuses the account.
       * `local`: a problem of this machine, before any challenge.
       */
      readonly kind: "unreachable" | "limited" | "refused" | "account" | "local";
    }
  | { readonly kind: "challenge"; readonly challenge: ChallengeKind }
);

export type PlanStep =
  /** @param challenges in the order in which they should be tried */
  | { do: "order"; challenges: ChallengeKind[]; onStaging: boolean }
  | { do: "askWindow" }
  | { do: "wait"; until: number };

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const WEEK = 7 * DAY;

/** Let's Encrypt allows 300 in three hours. */
export const MAX_ORDERS_PER_HOUR = 60;
export const MAX_ORDERS_PER_NAME_AND_HOUR = 6;
/** Failed challenges: Let's Encrypt allows 5 for each account, hostname and hour. */
const MAX_FAILED_CHALLENGES_PER_HOUR = 4;
/** Let's Encrypt allows 5 with the same names in a week. Short-lived certificates get twice the number that their renewals need. */
const MAX_ISSUES_PER_WEEK = 5;

/** The delay after failed rounds: 1 min, 4 min, 16 min, … */
const FIRST_DELAY_MS = MINUTE;
const DELAY_FACTOR = 4;
/** The longest delay without a valid certificate, and with one. */
const MAX_DELAY_WITHOUT_MS = HOUR;
const MAX_DELAY_WITH_MS = 12 * HOUR;
const MIN_DELAY_CAP_MS = 5 * MINUTE;
/** The pause if a CA does not respond: 30 s, 1 min, 2 min, … */
const FIRST_PAUSE_MS = 30 * SECOND;
const MAX_PAUSE_MS = HOUR;
const NEXT_CHALLENGE_MS = 2 * SECOND;
/** The longest Retry-After that is respected. */
const MAX_RETRY_AFTER_MS = DAY;
/** The longest wait for a Retry-After, including its random part. */
const MAX_WAIT_MS = 1.2 * MAX_RETRY_AFTER_MS;
const DEFAULT_LIMITED_MS = HOUR;
const ASK_WINDOW_MS = 6 * HOUR;
const MIN_ASK_WINDOW_MS = 10 * MINUTE;
/** Renewal starts in the last third of the lifetime, earlier by up to this share of it, so that not all renewals start at once. */
const JITTER = 0.05;

export function newPlan(name: string): NamePlan {
  return {
    ...{ name, issued: null, renewAt: null, window: null, askWindowAt: 0, orders: [], issues: [] },
    ...{ failedChallenges: [], failures: 0, tried: [], proven: null, isStagingNext: false },
    ...{ retryAt: 0, isForced: false, lastError: null },
  };
}

export const NEW_BUDGET: OrderBudget = { orders: [], pausedUntil: 0, failures: 0 };

/** Returns the next step for a name without an order in progress. */
export function nextStep(given: NamePlan, budget: OrderBudget, rules: PlanRules, now: number): PlanStep {
  const plan = settled(given, now);
  const orderAt = nextOrderAt(plan, budget, now);
  if (orderAt <= now) {
    const onStaging = plan.isStagingNext && rules.hasStaging;
    return { do: "order", challenges: challengesOf(plan, rules), onStaging };
  }
  if (plan.issued === null) return { do: "wait", until: orderAt };
  if (plan.askWindowAt <= now) return { do: "askWindow" };
  return { do: "wait", until: Math.min(orderAt, plan.askWindowAt) };
}

/** Returns when an order is due and allowed by the limits and pauses. */
export function nextOrderAt(given: NamePlan, budget: OrderBudget, now: number): number {
  const plan = settled(given, now);
  const dueAt = plan.isForced || plan.issued === null ? 0 : (plan.renewAt ?? 0);
  return Math.max(dueAt, mayOrderAt(plan, budget, now));
}

/** Returns when the limits and pauses allow an order. */
function mayOrderAt(plan: NamePlan, budget: OrderBudget, now: number): number {
  const pauses = plan.isForced ? [] : [plan.retryAt, notBeyond(budget.pausedUntil, MAX_WAIT_MS, now)];
  const issues = plan.isForced ? [] : [freeAt(plan.issues, maxIssues(plan.issued), WEEK, now)];
  return Math.max(
    ...[0, ...pauses, ...issues],
    freeAt(plan.orders, MAX_ORDERS_PER_NAME_AND_HOUR, HOUR, now),
    freeAt(budget.orders, MAX_ORDERS_PER_HOUR, HOUR, now),
    freeAt(plan.failedChallenges, MAX_FAILED_CHALLENGES_PER_HOUR, HOUR, now),
  );
}

/** Returns the time from which on fewer than `most` of the times are within the preceding period. */
function freeAt(times: readonly number[], most: number, periodMs: number, now: number): number {
  const recent = within(times, periodMs, now);
  const oldest = recent.at(-most);
  return oldest === undefined ? 0 : oldest + periodMs;
}

/** Times far in the future come from a clock that was set back, and do not count. */
function within(times: readonly number[], periodMs: number, now: number): number[] {
  return times.filter((time) => now - time < periodMs && time - now <= HOUR);
}

function maxIssues(issued: Validity | null): number {
  const lifetime = issued === null ? WEEK : Math.max(HOUR, issued.notAfter - issued.notBefore);
  return Math.max(MAX_ISSUES_PER_WEEK, Math.ceil((3 * WEEK) / lifetime));
}

/** The kind that succeeded last comes first. Kinds that failed in this round are left out. */
function challengesOf({ proven, tried }: NamePlan, { challenges }: PlanRules): ChallengeKind[] {
  const left = challenges.filter((kind) => !tried.includes(kind));
  const all = left.length === 0 ? [...challenges] : left;
  return all.sort((a, b) => Number(b === proven) - Number(a === proven));
}

/** Ignores waiting times that are longer than possible, because they come from a clock that was set back. */
function settled(plan: NamePlan, now: number): NamePlan {
  const retryAt = notBeyond(plan.retryAt, MAX_WAIT_MS, now);
  return { ...plan, retryAt, askWindowAt: notBeyond(plan.askWindowAt, DAY, now) };
}

function notBeyond(at: number, longestMs: number, now: number): number {
  return at - now > longestMs ? 0 : at;
}

/** Called when an order starts. */
export function beginOrder(plan: NamePlan, budget: OrderBudget, now: number): { plan: NamePlan; budget: OrderBudget } {
  const orders = [...within(plan.orders, HOUR, now), now];
  return {
    plan: { ...plan, orders, isForced: false },
    budget: { ...budget, orders: [...within(budget.orders, HOUR, now), now] },
  };
}

/** Called when the CA responded as expected. */
export function endCaPause(budget: OrderBudget): OrderBudget {
  return { ...budget, pausedUntil: 0, failures: 0 };
}

/** Called when a certificate was issued. `random` is from 0 to 1. */
export function succeedOrder(
  plan: NamePlan,
  { issued, challenge }: { issued: Validity; challenge: ChallengeKind | null },
  now: number,
  random: number,
): NamePlan {
  return {
    ...newPlan(plan.name),
    ...{ issued, renewAt: twoThirds(issued, random), askWindowAt: 0, orders: plan.orders },
    issues: [...within(plan.issues, WEEK, now), now].slice(-MAX_KEPT),
    failedChallenges: plan.failedChallenges,
    proven: challenge ?? plan.proven,
  };
}

const MAX_KEPT = 512;

/** Called when the staging directory has issued a certificate. The next order goes to the real directory. */
export function succeedOnStaging(plan: NamePlan, challenge: ChallengeKind | null): NamePlan {
  return { ...plan, isStagingNext: false, tried: [], proven: challenge ?? plan.proven, retryAt: 0 };
}

/** Adopts a stored certificate, for example after a restart. `random` is from 0 to 1. */
export function adoptIssued(plan: NamePlan, issued: Validity, random: number): NamePlan {
  const isKnown = plan.issued?.notAfter === issued.notAfter && plan.renewAt !== null;
  return isKnown ? plan : { ...plan, issued, renewAt: twoThirds(issued, random), window: null, askWindowAt: 0 };
}

function twoThirds({ notBefore, notAfter }: Validity, random: number): number {
  const lifetime = Math.max(0, notAfter - notBefore);
  return Math.round(notBefore + lifetime * (2 / 3 - JITTER * random));
}

/** Called when an order failed. `random` is from 0 to 1. */
export function failOrder(
  plan: NamePlan,
  budget: OrderBudget,
  failure: OrderFailure,
  rules: PlanRules,
  { now, random }: { now: number; random: number },
): { plan: NamePlan; budget: OrderBudget } {
  const { message, kind, retryAfterMs } = failure;
  const noted = { ...plan, lastError: { at: now, message, kind } };
  const later = (delayMs: number): NamePlan => ({ ...noted, retryAt: now + spread(delayMs, random) });
  const nextRound = (): NamePlan => {
    const failures = plan.failures + 1;
    return { ...later(delayAfter(plan, now)), failures, tried: [], isStagingNext: rules.hasStaging };
  };
  switch (failure.kind) {
    case "unreachable": {
      const usual = FIRST_PAUSE_MS * 2 ** Math.min(budget.failures, 12);
      const pause = Math.max(Math.min(usual, MAX_PAUSE_MS, capOf(plan, now)), retryAfter(retryAfterMs, 0));
      return {
        plan: noted,
        budget: { ...budget, failures: budget.failures + 1, pausedUntil: now + spread(pause, random) },
      };
    }
    case "limited":
      return { plan: later(retryAfter(retryAfterMs, DEFAULT_LIMITED_MS)), budget: endCaPause(budget) };
    case "refused":
      return { plan: nextRound(), budget: endCaPause(budget) };
    case "account": {
      const pause = Math.min(10 * MINUTE * 2 ** Math.min(budget.failures, 12), MAX_PAUSE_MS);
      return {
        plan: noted,
        budget: { ...budget, failures: budget.failures + 1, pausedUntil: now + spread(pause, random) },
      };
    }
    case "local":
      return { plan: { ...later(Math.min(MINUTE, delayAfter(plan, now))), failures: plan.failures + 1 }, budget };
    case "challenge": {
      const isCounted = !failure.onStaging;
      const failedChallenges = within(plan.failedChallenges, HOUR, now).concat(isCounted ? now : []);
      const tried = [...plan.tried, failure.challenge];
      const isOver = rules.challenges.every((kind) => tried.includes(kind));
      // A renewal forced by an operator also tries each kind.
      const isForced = plan.issued !== null && (plan.renewAt ?? 0) > now;
      const next = isOver ? nextRound() : { ...noted, tried, isForced, retryAt: now + NEXT_CHALLENGE_MS };
      return { plan: { ...next, failedChallenges }, budget: endCaPause(budget) };
    }
    default:
      return failure satisfies never;
  }
}

function delayAfter(plan: NamePlan, now: number): number {
  return Math.min(FIRST_DELAY_MS * DELAY_FACTOR ** Math.min(plan.failures, 8), capOf(plan, now));
}

/** The less time a certificate has left, the more often its renewal is tried. */
function capOf({ issued }: NamePlan, now: number): number {
  if (issued === null || issued.notAfter <= now) return MAX_DELAY_WITHOUT_MS;
  return Math.min(MAX_DELAY_WITH_MS, Math.max(MIN_DELAY_CAP_MS, (issued.notAfter - now) / 8));
}

function spread(delayMs: number, random: number): number {
  return Math.round(delayMs * (1 + 0.2 * random));
}

function retryAfter(ms: number | undefined, otherwise: number): number {
  return ms === undefined ? otherwise : Math.min(Math.max(ms, MINUTE), MAX_RETRY_AFTER_MS);
}

/**
 * Called after the CA was asked for the renewal window of the certificate.
 * @param window undefined if the CA named none
 * @param random from 0 to 1
 */
export function learnWindow(
  plan: NamePlan,
  window: RenewalWindow | undefined,
  retryAfterMs: number | undefined,
  { now, random }: { now: number; random: number },
): NamePlan {
  const askWindowAt = now + Math.min(Math.max(retryAfterMs ?? ASK_WINDOW_MS, MIN_ASK_WINDOW_MS), DAY);
  const { issued } = plan;
  if (window === undefined || issued === null || window.end < window.start) return { ...plan, askWindowAt };
  const isSame = plan.window?.start === window.start && plan.window.end === window.end;
  if (isSame) return { ...plan, window, askWindowAt };
  const chosen = window.start + (window.end - window.start) * random;
  // A window that ends too late would leave no time for a second attempt.
  const latest = issued.notAfter - Math.min(DAY, (issued.notAfter - issued.notBefore) / 6);
  return { ...plan, window, askWindowAt, renewAt: Math.round(Math.min(chosen, latest)) };
}

/**
 * Whether the CA wants the certificate to be replaced at once, for example after a revocation: the window has ended long before the usual
 * time.
 */
export function isRecalled({ issued, window }: NamePlan, now: number): boolean {
  if (issued === null || window === null || window.end > now) return false;
  return window.end < issued.notBefore + (issued.notAfter - issued.notBefore) / 2;
}

/** Called when the configuration or an operator requests another attempt at once. The hourly limits still apply. */
export function retryNow(plan: NamePlan): NamePlan {
  return { ...plan, retryAt: 0, tried: [], isStagingNext: false };
}

export function forceOrder(plan: NamePlan): NamePlan {
  return { ...retryNow(plan), isForced: true };
}

/** Whether another kind of challenge is tried within seconds. */
export function isInRound({ tried, retryAt }: NamePlan, now: number): boolean {
  return tried.length > 0 && Math.abs(retryAt - now) <= 2 * NEXT_CHALLENGE_MS;
}

/** Whether the plan of a name that is no longer configured may be deleted. */
export function mayForget({ issued, orders, issues }: NamePlan, now: number): boolean {
  const isRecent = within(orders, HOUR, now).length > 0 || within(issues, WEEK, now).length > 0;
  return !isRecent && (issued === null || issued.notAfter <= now);
}

/** `failed`: there is no certificate, and the last attempt failed. */
export type NameState = "none" | "ordering" | "valid" | "renewing" | "expired" | "failed";

export function stateOf({ issued, lastError }: NamePlan, isOrdering: boolean, now: number): NameState {
  if (issued === null) return isOrdering ? "ordering" : lastError === null ? "none" : "failed";
  if (isOrdering) return "renewing";
  return issued.notAfter <= now ? "expired" : "valid";
}

/** Whether the renewal is so late that an operator should act. */
export function isLate({ issued, renewAt, lastError }: NamePlan, now: number): boolean {
  if (issued === null || renewAt === null || lastError === null) return false;
  return now - renewAt > (issued.notAfter - issued.notBefore) / 12;
}
