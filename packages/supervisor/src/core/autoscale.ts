/** Decides how many instances an autoscaled pool should have, one measured period after another. Pure. */
import {
  evaluateGrowth,
  isCpuLimited,
  type Limit,
  meanLoad,
  metricOf,
  neededInstances,
  type PoolLoad,
  type ScalingTarget,
  secondsOf,
  sufficientInstances,
} from "./scaling-needs.js";

/** The rules of an autoscaled pool. */
export interface ScalingRules {
  readonly min: number;
  readonly max: number;
  readonly target: ScalingTarget;
  /** The pool shrinks to the most instances that were needed within this period. */
  readonly coolDownMs: number;
  /** Whether instances that do not help are removed again. */
  readonly checkBenefit: boolean;
  /** How long the pool does not grow after the first removal of instances that did not help, in milliseconds. */
  readonly retryAfterMs: number;
}

/** One period of a pool. */
export interface ScalingSample extends PoolLoad {
  /** The size that the pool should have now. */
  readonly wanted: number;
  /** The number of these slots that operators have drained; they do not count as capacity. */
  readonly drained: number;
  /** The number of all other slots that are not ready: those that are starting, or waiting after a failure. */
  readonly unready: number;
  /** Whether a rollout or another operation is changing its processes. */
  readonly isBusy: boolean;
}

/** An increase whose benefit is not known yet. */
interface Trial {
  readonly from: number;
  readonly to: number;
  readonly before: PoolLoad;
  /** The number of finished requests in `before`. */
  readonly requests: number;
  readonly extensions: number;
  readonly since: number;
}

/** Set after growth was refused. */
interface Hold {
  readonly until: number;
  readonly throughput: number;
}

export interface ScalingState {
  /** The size in the last period, as everywhere here without drained slots; null before the first period. */
  readonly wanted: number | null;
  /** The last periods at this size with all instances ready, oldest first. */
  readonly recent: readonly PoolLoad[];
  readonly trial: Trial | null;
  readonly hold: Hold | null;
  /** How long the next hold lasts, in milliseconds; 0 before the first one. */
  readonly nextHoldMs: number;
  /** How many instances were enough, by time, oldest first. */
  readonly needs: readonly { readonly at: number; readonly instances: number }[];
  readonly grownAt: number;
  readonly shrunkAt: number;
  /** The factor for the cool-down of a pool that has grown again soon after it shrank. */
  readonly damping: number;
  /** The shortest mean time of a request in recent periods, in seconds. */
  readonly bestSeconds: number;
  /** The time of the last period. */
  readonly at: number;
}

export const NEW_SCALING: ScalingState = {
  wanted: null,
  recent: [],
  trial: null,
  hold: null,
  nextHoldMs: 0,
  needs: [],
  grownAt: Number.NEGATIVE_INFINITY,
  shrunkAt: Number.NEGATIVE_INFINITY,
  damping: 1,
  bestSeconds: Number.POSITIVE_INFINITY,
  at: Number.NEGATIVE_INFINITY,
};

interface ScalingDecision {
  state: ScalingState;
  wanted: number;
  /** Why the size changes; null if it does not. */
  reason: string | null;
}

/** The pool grows if the figure exceeds the target by this factor in two consecutive periods. */
const TOLERANCE = 1.1;
const PERIODS_ABOVE = 2;
const MAX_RECENT = 12;
/** The requests in flight are falling if there are fewer than this share of the earlier number. */
const FALLING = 0.9;
/** The number of periods after a change that do not count, because the load is still moving to the new instances. */
const SETTLING_PERIODS = 2;
/** The minimum number of periods in a comparison; there are more while there are few requests. */
const LEAST_COMPARED = 3;
const ENOUGH_REQUESTS = 200;
const MAX_COMPARED = 10;
/** If the instances of a trial are not ready after this time, in milliseconds, the trial ends without a result. */
const MAX_TRIAL_MS = 120_000;
const MAX_EXTENSIONS = 3;
/** An increase that has brought half of the possible benefit may be extended before it is evaluated. */
const PROMISING_SHARE = 0.5;
const MAX_FACTOR = 10;
/** Large pools grow by at least this share, because one more instance would have no visible effect. */
const LEAST_STEP_SHARE = 0.1;
const MAX_HOLD_FACTOR = 20;
/** A hold ends early if the throughput has risen by this factor. */
const MOVED_LIMIT = 1.25;
const MAX_DAMPING = 8;
/** A pool that grows again within this many cool-downs after it has shrunk has shrunk too soon. */
const SOON_COOL_DOWNS = 10;
/** The number of entries in `needs` for one cool-down. */
const NEED_ENTRIES = 20;
/** The factor by which the best time is raised in each period, because an app may become slower over the hours. */
const FORGETTING = 1.002;

/** @param now milliseconds of a monotonic clock */
export function decideSize(
  before: ScalingState,
  sample: ScalingSample,
  rules: ScalingRules,
  now: number,
): ScalingDecision {
  const { drained } = sample;
  // A drained slot is neither measured nor needed; the pool has it in addition to its size.
  const own = { ...rules, min: Math.max(0, rules.min - drained), max: rules.max - drained };
  const decision = decideServing(before, { ...sample, wanted: sample.wanted - drained }, own, now);
  return { ...decision, wanted: decision.wanted + drained };
}

function decideServing(before: ScalingState, sample: ScalingSample, rules: ScalingRules, now: number): ScalingDecision {
  const { wanted, drained } = sample;
  const seconds = (now - before.at) / 1000;
  // If an operator has changed the size, nothing can be compared.
  const known = before.wanted === null || before.wanted === wanted ? before : { ...before, recent: [], trial: null };
  let state: ScalingState = { ...known, wanted, at: now };
  if (wanted < rules.min) return resized(state, rules.min, `the minimum is ${rules.min + drained}`, now);
  if (wanted > rules.max) return resized(state, rules.max, `the maximum is ${rules.max + drained}`, now);
  if (sample.isBusy) return { state: { ...state, recent: [], trial: null }, wanted, reason: null };
  // Instances that are starting or crashing show nothing about the load, and no more are added because of them.
  if (sample.unready > 0 || sample.ready < wanted || sample.ready === 0)
    return { state: { ...state, recent: [], trial: young(state.trial, now) }, wanted, reason: null };

  const load = loadOf(sample);
  const previous = state.recent.at(-1);
  const recent = [...state.recent, load].slice(-MAX_RECENT);
  const sufficient = sufficientInstances(meanLoad(recent.slice(-LEAST_COMPARED)), rules.target);
  state = {
    ...state,
    recent,
    needs: withNeed(state, now, sufficient, rules),
    bestSeconds: Math.min(state.bestSeconds * FORGETTING, secondsOf(load)),
  };
  const isAbove = state.recent.length >= PERIODS_ABOVE && state.recent.slice(-PERIODS_ABOVE).every(above(rules.target));
  // A backlog that is shrinking needs no more instances.
  const isFalling = previous !== undefined && load.inFlight < FALLING * previous.inFlight;
  const needed = isAbove && !isFalling ? sizeToGrow(state, load, previous, seconds, rules) : wanted;
  if (state.trial !== null) return tried(state, state.trial, load, needed, rules, now, seconds);
  if (needed > wanted) {
    const open = holdNow(state, load, now);
    if (open !== null) return { state, wanted, reason: null };
    return grown({ ...state, hold: null }, needed, load, rules, now, seconds);
  }
  return shrunk(state, rules, now);
}

/** Returns a trial that has just started, which waits for its instances. An old one is dropped. */
function young(trial: Trial | null, now: number): Trial | null {
  return trial !== null && now - trial.since < MAX_TRIAL_MS ? trial : null;
}

function loadOf(sample: ScalingSample): PoolLoad {
  const { wanted: _, drained: __, unready: ___, isBusy: ____, ...load } = sample;
  return load;
}

function above(target: ScalingTarget): (load: PoolLoad) => boolean {
  return (load) => (metricOf(load, target) ?? 0) > TOLERANCE * target.value;
}

/** Returns the size that the load needs, at least one step more than now. */
function sizeToGrow(
  state: ScalingState,
  load: PoolLoad,
  previous: PoolLoad | undefined,
  seconds: number,
  { target, max }: ScalingRules,
): number {
  const wanted = state.wanted ?? load.ready;
  const step = wanted + Math.max(1, Math.round(LEAST_STEP_SHARE * wanted));
  // On a busy machine, or after a refusal, the pool grows by one step at a time.
  const isCautious = isCpuLimited(load) || state.nextHoldMs > 0;
  const needed = Math.ceil(neededInstances(load, previous, seconds, target) - 1e-9);
  return Math.min(max, isCautious ? step : Math.max(step, Math.min(needed, MAX_FACTOR * wanted)));
}

function holdNow({ hold, recent }: ScalingState, load: PoolLoad, now: number): Hold | null {
  if (hold === null || now >= hold.until) return null;
  const hasMoved = [recent.at(-2), load].every((each) => (each?.throughput ?? 0) > MOVED_LIMIT * hold.throughput);
  return hasMoved ? null : hold;
}

function grown(
  state: ScalingState,
  to: number,
  load: PoolLoad,
  { target, coolDownMs }: ScalingRules,
  now: number,
  seconds: number,
): ScalingDecision {
  const from = state.wanted ?? load.ready;
  const crowded = state.recent.slice(-LEAST_COMPARED).filter(above(target));
  const before = meanLoad(crowded);
  const isSoon = now - state.shrunkAt < SOON_COOL_DOWNS * coolDownMs * state.damping;
  const trial: Trial = {
    ...{ from, to, before, extensions: 0, since: now },
    requests: before.throughput * crowded.length * seconds,
  };
  const damping = isSoon ? Math.min(MAX_DAMPING, 2 * state.damping) : Math.max(1, state.damping / 2);
  return resized({ ...state, trial, damping, grownAt: now }, to, reasonOf(load, target), now, trial);
}

/** Handles an increase in progress: extends it, waits, or evaluates it. */
function tried(
  state: ScalingState,
  trial: Trial,
  load: PoolLoad,
  needed: number,
  rules: ScalingRules,
  now: number,
  seconds: number,
): ScalingDecision {
  const { target, retryAfterMs, checkBenefit } = rules;
  const wanted = state.wanted ?? trial.to;
  const compared = state.recent.slice(SETTLING_PERIODS);
  const promised = 1 + PROMISING_SHARE * (trial.to / trial.from - 1);
  const isPromising = load.throughput >= promised * trial.before.throughput || !checkBenefit;
  if (needed > wanted && isPromising && trial.extensions < MAX_EXTENSIONS && !isCpuLimited(load)) {
    const extended = { ...trial, to: needed, extensions: trial.extensions + 1 };
    return resized({ ...state, trial: extended, grownAt: now }, needed, reasonOf(load, target), now, extended);
  }
  const stays = { state, wanted, reason: null };
  if (!checkBenefit) return { ...stays, state: { ...state, trial: null } };
  if (compared.length < LEAST_COMPARED) return stays;
  const after = meanLoad(compared);
  const requests = trial.requests + after.throughput * compared.length * seconds;
  if (requests < ENOUGH_REQUESTS && compared.length < MAX_COMPARED) return stays;
  const { keep, limit } = evaluateGrowth({ ...trial, after, requests, bestSeconds: state.bestSeconds }, target);
  if (limit === null) return { ...stays, state: { ...state, trial: null, nextHoldMs: 0 } };
  const holdMs = state.nextHoldMs || retryAfterMs;
  const hold = { until: now + holdMs, throughput: after.throughput };
  const nextHoldMs = Math.min(2 * holdMs, MAX_HOLD_FACTOR * retryAfterMs);
  return resized({ ...state, hold, nextHoldMs }, keep, refusalOf(trial, after, limit, holdMs), now);
}

function shrunk(state: ScalingState, rules: ScalingRules, now: number): ScalingDecision {
  const wanted = state.wanted ?? rules.min;
  const coolDownMs = rules.coolDownMs * state.damping;
  const oldest = state.needs[0];
  const isCovered = oldest !== undefined && now - oldest.at >= coolDownMs && now - state.grownAt >= coolDownMs;
  const most = Math.max(rules.min, ...state.needs.map(({ instances }) => instances));
  if (!isCovered || most >= wanted) return { state, wanted, reason: null };
  const seconds = Math.round(coolDownMs / 1000);
  // A smaller load may not reach the limit again.
  return resized(
    { ...state, shrunkAt: now, hold: null, nextHoldMs: 0 },
    most,
    `${most} sufficed for the last ${seconds} s`,
    now,
  );
}

/** Adds the number that was enough in this period, and drops entries older than the cool-down. */
function withNeed(
  { needs, damping }: ScalingState,
  now: number,
  instances: number,
  { coolDownMs }: ScalingRules,
): ScalingState["needs"] {
  const spanMs = coolDownMs * damping;
  const last = needs.at(-1);
  const isSame = last !== undefined && now - last.at < spanMs / NEED_ENTRIES;
  const entry = isSame ? { at: last.at, instances: Math.max(last.instances, instances) } : { at: now, instances };
  const all = [...(isSame ? needs.slice(0, -1) : needs), entry];
  // The entry before the first one that is recent enough covers the beginning of the cool-down.
  const first = all.findIndex(({ at }) => now - at < spanMs);
  return all.slice(Math.max(0, first - 1));
}

function resized(
  state: ScalingState,
  wanted: number,
  reason: string,
  now: number,
  trial: Trial | null = null,
): ScalingDecision {
  return { state: { ...state, wanted, recent: [], trial, at: now }, wanted, reason };
}

const FIGURES: Record<ScalingTarget["metric"], (figure: string) => string> = {
  queueMs: (figure) => `requests wait ${figure} ms`,
  cpuPercent: (figure) => `${figure} % CPU per instance`,
  inFlight: (figure) => `${figure} requests in flight per instance`,
};

function reasonOf(load: PoolLoad, target: ScalingTarget): string {
  return `${FIGURES[target.metric](rounded(metricOf(load, target) ?? 0))}, the target is ${target.value}`;
}

function refusalOf({ from, to, before }: Trial, after: PoolLoad, limit: Limit, holdMs: number): string {
  const rates = `${rounded(after.throughput)} requests/s with ${to}, ${rounded(before.throughput)} with ${from}`;
  const why =
    limit === "cpu" ? "the CPUs of this machine are the limit" : "something else is the limit, such as a database";
  return `${rates}: ${why}; no growth for ${Math.round(holdMs / 1000)} s`;
}

function rounded(figure: number): string {
  return figure < 10 ? `${Math.round(figure * 10) / 10}` : `${Math.round(figure)}`;
}
