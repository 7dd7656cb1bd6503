/**
 * How strong the evidence of counts is against a share, and against a difference between two arms. It is valid at every look, however often
 * and whenever it is computed.
 *
 * The evidence against a share p is the likelihood ratio of a Beta mixture of shares to p. While p is the true share, this ratio is a
 * martingale that begins at 1, so by Ville's inequality it ever exceeds 1/α with a probability of α at most (Robbins 1970; Howard, Ramdas,
 * McAuliffe and Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences"; the mixture SPRT of Johari, Koomen, Pekelis
 * and Walsh 2022, "Always valid inference"). The arms are independent, so the product of their ratios is such a martingale, too. The
 * evidence against a difference is the smallest product over all pairs of shares that have this difference. All evidence here is a natural
 * logarithm.
 */

/** A mixture of Beta distributions with their weights. */
export type Prior = readonly { readonly hits: number; readonly misses: number; readonly norm: number }[];

export function priorOf(...parts: readonly (readonly [hits: number, misses: number, weight: number])[]): Prior {
  const all = parts.reduce((sum, [, , weight]) => sum + weight, 0);
  return parts.map(([hits, misses, weight]) => ({
    hits,
    misses,
    norm: logBeta(hits, misses) - Math.log(weight / all),
  }));
}

/**
 * What is expected of a canary that is beyond a limit, and of one that is within it. Each side of an interval has an error rate and a prior
 * of its own. A prior that is close to the truth needs fewer requests, but every prior is valid for every truth.
 */
export type Side = "beyond" | "within";
export type Priors = Readonly<Record<Side, Prior>>;

/**
 * The priors for shares that are usually small, for example of errors. A share that is beyond a limit is expected around a tenth, around a
 * thirtieth, or anywhere.
 */
export const RARE: Priors = {
  beyond: priorOf([2, 18, 6], [2, 60, 3], [1, 2, 1]),
  within: priorOf([0.5, 200, 7], [0.5, 20, 2], [1, 1, 1]),
};
/** The prior for the control, which has many requests with few errors, or fails altogether. */
export const CONTROL = priorOf([0.5, 500, 9], [0.5, 10, 1], [10, 0.5, 0.1]);

/** The counts of one arm. `hits` may have a fraction. */
export interface Count {
  readonly hits: number;
  readonly total: number;
}

/** Returns the evidence against the share `share` of hits. */
export function evidenceAgainst(count: Count, share: number, prior: Prior): number {
  return mixture(count, prior) - likelihood(count, share);
}

/** The logarithm of the likelihood of the counts under the mixture. */
function mixture({ hits, total }: Count, prior: Prior): number {
  let sum = Number.NEGATIVE_INFINITY;
  for (const part of prior) sum = logSum(sum, logBeta(hits + part.hits, total - hits + part.misses) - part.norm);
  return sum;
}

function likelihood({ hits, total }: Count, share: number): number {
  return times(hits, share) + times(total - hits, 1 - share);
}

/** Returns count · ln(share), or 0 if nothing was counted. */
function times(count: number, share: number): number {
  return count === 0 ? 0 : count * Math.log(share);
}

function logSum(a: number, b: number): number {
  const most = Math.max(a, b);
  return most === Number.NEGATIVE_INFINITY ? most : most + Math.log(Math.exp(a - most) + Math.exp(b - most));
}

/** How often an interval is halved. */
const STEPS = 32;

/** The two arms of a comparison of shares. */
export class ShareComparison {
  private readonly ofControl: number;

  constructor(
    private readonly canary: Count,
    private readonly control: Count,
  ) {
    this.ofControl = mixture(control, CONTROL);
  }

  /** The canary's share minus the control's share; 0 while the canary or the control has no requests. */
  get estimate(): number {
    const { canary, control } = this;
    if (canary.total === 0 || control.total === 0) return 0;
    return canary.hits / canary.total - control.hits / control.total;
  }

  /** Returns the evidence against this difference: the minimum over all shares of the control. */
  against(difference: number, _enough: number, side: Side): number {
    const { canary, control } = this;
    let low = Math.max(0, -difference);
    let high = Math.min(1, 1 - difference);
    // The likelihood is concave in the control's share.
    for (let step = 0; step < STEPS; step++) {
      const share = (low + high) / 2;
      const slope = slopeAt(control, share) + slopeAt(canary, share + difference);
      if (slope > 0) low = share;
      else high = share;
    }
    const share = (low + high) / 2;
    const mixed = this.ofControl + mixture(canary, RARE[side]);
    return mixed - likelihood(control, share) - likelihood(canary, share + difference);
  }
}

/** Returns the derivative of the likelihood. */
function slopeAt({ hits, total }: Count, share: number): number {
  return (hits === 0 ? 0 : hits / share) - (total === hits ? 0 : (total - hits) / (1 - share));
}

/**
 * Returns where the evidence reaches `enough` on one side of the estimate; null if that is beyond `end`. The evidence grows with the
 * distance from the estimate.
 */
export function boundOf(
  against: (value: number, enough: number) => number,
  estimate: number,
  end: number,
  enough: number,
): number | null {
  if (!(against(end, enough) >= enough)) return null;
  let inside = estimate;
  let outside = end;
  for (let step = 0; step < STEPS; step++) {
    const middle = (inside + outside) / 2;
    if (against(middle, enough) >= enough) outside = middle;
    else inside = middle;
  }
  return (inside + outside) / 2;
}

function logBeta(a: number, b: number): number {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

/** Stirling's series, shifted to arguments for which it is exact to eleven digits. */
export function logGamma(x: number): number {
  let shift = 0;
  let at = x;
  if (at < 8) {
    let product = 1;
    for (; at < 8; at++) product *= at;
    shift = Math.log(product);
  }
  const inverse = 1 / at;
  const square = inverse * inverse;
  const series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)));
  return (at - 0.5) * Math.log(at) - at + 0.9189385332046727 + series - shift;
}
