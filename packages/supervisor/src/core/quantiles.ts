/**
 * Compares a quantile of durations in two arms, from their histograms. A duration is the quantile of an arm if a known share of its
 * requests take longer, so the evidence against a duration is evidence against that share. Durations count as evenly spread in their
 * bucket. The bound on false alarms holds for the quantiles of these histograms, whose buckets are narrow compared with the limits.
 *
 * Of an abandoned request, whose client left before the response, it is only known that it took longer than it was open. So it counts as
 * above a shorter duration, and is ignored for a longer one.
 */
import { type Count, evidenceAgainst, type Prior, type Priors, priorOf, RARE, type Side } from "./evidence.js";

/** A histogram: `counts[i]` requests took from `edges[i]` to `edges[i + 1]` milliseconds. */
export interface Durations {
  /** Ascending; one more than counts. */
  readonly edges: readonly number[];
  readonly counts: readonly number[];
  /** In the same buckets: how long the abandoned requests were open. Default: none. */
  readonly abandoned?: readonly number[];
}

export interface QuantileRule {
  /** The share of requests that take longer. */
  readonly above: number;
  readonly canary: Priors;
  readonly control: Prior;
}

/** Shares of slightly more or less than a half, and the shares of a release that is much slower or faster. */
export const P50: QuantileRule = {
  above: 0.5,
  canary: { beyond: priorOf([8, 4, 1], [60, 45, 1]), within: priorOf([4, 6, 1], [45, 60, 2]) },
  control: priorOf([4, 4, 1], [60, 60, 3]),
};
/**
 * A p99 that is three times as long is still only about a twenty-fifth beyond its limit. If the control has many requests, its own share is
 * close to the hundredth.
 */
export const P99: QuantileRule = {
  above: 0.01,
  canary: { beyond: priorOf([2, 18, 3], [10, 250, 6], [1, 2, 1]), within: RARE.within },
  control: priorOf([20, 1980, 3], [1, 99, 1]),
};

/** By how much the canary may be slower: by the factor or the milliseconds, whichever allows more. */
export interface Slack {
  readonly factor: number;
  readonly ms: number;
}

/** Returns the longest quantile that a canary may have, given the quantile of the control in milliseconds. */
export function slowest(ms: number, { factor, ms: more }: Slack): number {
  return Math.max(factor * ms, ms + more);
}

/** A duration with more evidence against it than this cannot be the control's quantile in any comparison. */
const ENOUGH = 25;
/** In how many places a bucket is examined. */
const STEPS = 4;

export class QuantileComparison {
  /** The quantiles; null without requests. */
  readonly canaryMs: number | null;
  readonly controlMs: number | null;
  private readonly canary: Arm;
  private readonly control: Arm;
  /** The possible quantiles of the control, and the evidence against each; computed on demand. */
  private found: readonly Candidate[] | undefined;

  constructor(
    canary: Durations,
    control: Durations,
    private readonly rule: QuantileRule,
    private readonly slack: Slack,
  ) {
    this.canary = new Arm(canary);
    this.control = new Arm(control);
    this.canaryMs = this.canary.quantile(rule.above);
    this.controlMs = this.control.quantile(rule.above);
  }

  /** Differences are multiples of the longest one that is allowed: 0 is as fast as the control, 1 is the limit. */
  get estimate(): number {
    const { canaryMs, controlMs } = this;
    return canaryMs === null || controlMs === null ? 0 : (canaryMs - controlMs) / this.allowedMs(controlMs);
  }

  /** Returns the longest difference that is allowed, given this quantile of the control. */
  allowedMs(controlMs: number): number {
    return slowest(controlMs, this.slack) - controlMs;
  }

  /**
   * Returns the evidence against this multiple: the minimum over all quantiles of the control; 0 if one of the arms had no requests.
   * @param enough a smaller value may be returned as soon as it is found
   */
  against(multiple: number, enough: number, side: Side): number {
    const { canaryMs, controlMs } = this;
    if (canaryMs === null || controlMs === null) return 0;
    const { above, control } = this.rule;
    const against = evidenceAgainst(this.control.countAbove(controlMs), above, control);
    let least = this.withCanary({ ms: controlMs, against }, multiple, side);
    if (least < enough) return least;
    this.found ??= candidatesOf(this.control, controlMs, this.canary.durations.edges, this.rule);
    for (const candidate of this.found) {
      least = Math.min(least, this.withCanary(candidate, multiple, side));
      if (least < enough) break;
    }
    return least;
  }

  /** Returns the evidence that a smaller share of the canary's requests than this is beyond the limit, given the control's quantile. */
  againstBeyond(share: number): number {
    const { controlMs } = this;
    if (controlMs === null) return 0;
    const count = this.canary.countAbove(slowest(controlMs, this.slack));
    return count.hits < share * count.total ? evidenceAgainst(count, share, this.rule.canary.within) : 0;
  }

  private withCanary({ ms, against }: Candidate, multiple: number, side: Side): number {
    const { above, canary } = this.rule;
    const slower = ms === Number.POSITIVE_INFINITY ? ms : Math.max(0, ms + multiple * this.allowedMs(ms));
    return against + evidenceAgainst(this.canary.countAbove(slower), above, canary[side]);
  }
}

interface Candidate {
  readonly ms: number;
  readonly against: number;
}

/**
 * Goes from the quantile in both directions until the evidence is enough. Also beyond the control's own durations, because the canary's may
 * lie there.
 */
function candidatesOf(arm: Arm, quantileMs: number, others: readonly number[], rule: QuantileRule): Candidate[] {
  const { edges } = arm.durations;
  const [first, last] = [edges[0] as number, edges.at(-1) as number];
  const found: Candidate[] = [];
  /** Returns whether to continue. */
  const visit = (ms: number): boolean => {
    const against = evidenceAgainst(arm.countAbove(ms), rule.above, rule.control);
    if (against > ENOUGH) return false;
    found.push({ ms, against });
    return true;
  };
  const middle = arm.bucketOf(quantileMs);
  const rightwards = (): boolean => {
    for (let at = middle; at + 1 < edges.length; at++)
      for (let step = 0; step < STEPS; step++) {
        const ms = arm.placeIn(at, step / STEPS);
        if (ms >= quantileMs && !visit(ms)) return false;
      }
    return visit(last);
  };
  const leftwards = (): boolean => {
    for (let at = middle; at >= 0; at--)
      for (let step = STEPS - 1; step >= 0; step--) {
        const ms = arm.placeIn(at, step / STEPS);
        if (ms < quantileMs && !visit(ms)) return false;
      }
    return true;
  };
  if (rightwards()) [...others.filter((ms) => ms > last), Number.POSITIVE_INFINITY].forEach(visit);
  if (leftwards()) [0, ...others.filter((ms) => ms < first)].forEach(visit);
  return found;
}

/** Returns the share of requests that take longer; 0 without requests. */
export function shareAbove(durations: Durations, ms: number): number {
  const { hits, total } = new Arm(durations).countAbove(ms);
  return total === 0 ? 0 : hits / total;
}

/** A histogram with the number of requests above each edge. */
class Arm {
  private readonly total: number;
  private readonly above: readonly number[];
  /** The same for the abandoned requests; undefined if there are none. */
  private readonly abandonedAbove: readonly number[] | undefined;

  constructor(readonly durations: Durations) {
    const { counts, abandoned } = durations;
    this.above = sumsAbove(counts);
    this.abandonedAbove = abandoned && sumsAbove(abandoned);
    this.total = this.above[0] as number;
  }

  /** Returns the number of requests that took longer, of those whose duration is known well enough. */
  countAbove(ms: number): Count {
    const hits = this.numberAbove(this.above, ms);
    const abandoned = this.abandonedAbove === undefined ? 0 : this.numberAbove(this.abandonedAbove, ms);
    return { hits: hits + abandoned, total: this.total + abandoned };
  }

  private numberAbove(above: readonly number[], ms: number): number {
    const { edges } = this.durations;
    if (ms >= (edges.at(-1) as number)) return 0;
    if (ms <= (edges[0] as number)) return above[0] as number;
    const at = this.bucketOf(ms);
    const part = (ms - (edges[at] as number)) / ((edges[at + 1] as number) - (edges[at] as number));
    return (above[at] as number) * (1 - part) + (above[at + 1] as number) * part;
  }

  /** Returns the bucket of a duration between the first and the last edge. */
  bucketOf(ms: number): number {
    const { edges } = this.durations;
    let low = 0;
    let high = edges.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((edges[middle] as number) <= ms) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Returns the duration after this part of a bucket. */
  placeIn(bucket: number, part: number): number {
    const { edges } = this.durations;
    const from = edges[bucket] as number;
    return from + part * ((edges[bucket + 1] as number) - from);
  }

  /** Returns the duration that this share of the requests exceeds; null without requests. */
  quantile(share: number): number | null {
    const { above, abandonedAbove, total } = this;
    const { edges } = this.durations;
    if (total + (abandonedAbove?.[0] ?? 0) === 0) return null;
    /** By how many requests the number above an edge exceeds that share. */
    const more = (at: number) => {
      const abandoned = abandonedAbove?.[at] ?? 0;
      return (above[at] as number) + abandoned - share * (total + abandoned);
    };
    let next = 1;
    while (more(next) > 0) next++;
    const [from, to] = [edges[next - 1] as number, edges[next] as number];
    return from + (more(next - 1) / (more(next - 1) - more(next))) * (to - from);
  }
}

/** Returns for each count the sum of this count and all later ones, and 0 at the end. */
function sumsAbove(counts: readonly number[]): number[] {
  const above = new Array<number>(counts.length + 1).fill(0);
  for (let at = counts.length - 1; at >= 0; at--) above[at] = (above[at + 1] as number) + (counts[at] as number);
  return above;
}
