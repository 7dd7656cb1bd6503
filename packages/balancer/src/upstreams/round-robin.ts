/** Round robin: picks the upstream that got the fewest requests; among equals in slot order; during a deploy by weight. */
import type { Policy } from "./picking.js";

/** An upstream that could not be picked for a while then gets at most this many requests more than the others. */
const MAX_BEHIND = 32;

export class RoundRobin<Candidate extends { readonly name: string; readonly weight?: number | undefined }>
  implements Policy<Candidate>
{
  private candidates: readonly Candidate[] = [];
  /** How many requests each candidate has got since the last change. */
  private given: number[] = [];
  private next = 0;
  /** The minimum of `given`. */
  private least = 0;
  /** Set while the weights differ. */
  private weighted: WeightedTurns<Candidate> | undefined;

  /** Continues after the candidate that was picked last, whatever its new position. */
  rebuild(candidates: readonly Candidate[]): void {
    const last = this.candidates[(this.next + this.candidates.length - 1) % this.candidates.length]?.name;
    const position = candidates.findIndex((candidate) => candidate.name === last);
    this.candidates = candidates;
    this.given = candidates.map(() => 0);
    this.least = 0;
    if (position >= 0) this.next = (position + 1) % candidates.length;
    else if (this.next >= candidates.length) this.next = 0;
    const weight = candidates[0]?.weight ?? 1;
    if (candidates.every((candidate) => (candidate.weight ?? 1) === weight)) this.weighted = undefined;
    else {
      this.weighted ??= new WeightedTurns<Candidate>();
      this.weighted.rebuild(candidates);
    }
  }

  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const { candidates, given, weighted } = this;
    if (weighted !== undefined) return weighted.pick(mayBePicked);
    const { length } = candidates;
    let best = -1;
    let fewest = Number.POSITIVE_INFINITY;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0, at = this.next; i < length; i++, at = at + 1 === length ? 0 : at + 1) {
      const count = given[at] as number;
      if (count < least) least = count;
      if (count >= fewest || !mayBePicked(candidates[at] as Candidate)) continue;
      best = at;
      fewest = count;
      // Usually this is the first one.
      if (count === this.least) break;
    }
    if (best < 0) return undefined;
    if (fewest > this.least) this.catchUp(least, fewest);
    given[best] = fewest + 1;
    this.next = best + 1 === length ? 0 : best + 1;
    return candidates[best];
  }

  pickAgain(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const { candidates, given, next, weighted } = this;
    const last = next === 0 ? candidates.length - 1 : next - 1;
    const candidate = candidates[last];
    if (weighted !== undefined || candidate === undefined || !mayBePicked(candidate)) return undefined;
    given[last] = (given[last] as number) + 1;
    return candidate;
  }

  /**
   * @param least the minimum of all candidates
   * @param fewest the number of the picked one
   */
  private catchUp(least: number, fewest: number): void {
    this.least = Math.max(least, fewest - MAX_BEHIND);
    if (this.least === least) return;
    for (let at = 0; at < this.given.length; at++) this.given[at] = Math.max(this.given[at] as number, this.least);
  }
}

interface Weighted {
  /** A whole number of at least 1. Default: 1. */
  readonly weight?: number | undefined;
}

/** Smooth weighted round robin: each candidate gets its share of the turns, evenly spread, in the same order every time. */
export class WeightedTurns<Candidate extends Weighted> {
  private candidates: readonly Candidate[] = [];
  /** How far each candidate is behind its share. The sum is always 0. */
  private credits: number[] = [];

  /** Continues with the credits of the candidates that remain. */
  rebuild(candidates: readonly Candidate[]): void {
    const before = new Map(this.candidates.map((candidate, at) => [candidate, this.credits[at] as number]));
    this.candidates = candidates;
    this.credits = candidates.map((candidate) => before.get(candidate) ?? 0);
  }

  /** Returns the candidate that is furthest behind its share among those that may be picked; undefined if there is none. */
  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const { candidates, credits } = this;
    let total = 0;
    let best = -1;
    for (let at = 0; at < candidates.length; at++) {
      const candidate = candidates[at] as Candidate;
      // A candidate that is not available does not fall behind, so that it gets no burst of requests later.
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
