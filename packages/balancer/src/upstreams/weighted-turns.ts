/** Smooth weighted round robin: each candidate gets its share of the turns, spread evenly, in the same order every time. */

interface Weighted {
  /** A whole number of at least 1. Default: 1. */
  readonly weight?: number | undefined;
}

export class WeightedTurns<Candidate extends Weighted> {
  private candidates: readonly Candidate[] = [];
  /** By how much each candidate is behind its share; the sum stays 0. */
  private credits: number[] = [];

  /** Continues with the credits of candidates that remain. */
  rebuild(candidates: readonly Candidate[]): void {
    const before = new Map(this.candidates.map((candidate, at) => [candidate, this.credits[at] as number]));
    this.candidates = candidates;
    this.credits = candidates.map((candidate) => before.get(candidate) ?? 0);
  }

  /** Returns the candidate that is furthest behind its share among those that may be picked, or undefined. */
  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const { candidates, credits } = this;
    let total = 0;
    let best = -1;
    for (let at = 0; at < candidates.length; at++) {
      const candidate = candidates[at] as Candidate;
      // One that is not available falls behind nothing: it must not get a burst of requests later.
      if (!mayBePicked(candidate)) continue;
      const { weight = 1 } = candidate;
      total += weight;
      credits[at] = (credits[at] as number) + weight;
      if (best < 0 || (credits[at] as number) > (credits[best] as number)) best = at;
    }
    if (best < 0) return undefined;
    credits[best] = (credits[best] as number) - total;
    return candidates[best];
  }
}
