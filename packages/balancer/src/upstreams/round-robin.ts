/** Round robin: picks the next upstream in slot order, or by weight if weights differ. Also counts requests, so that handfuls even out. */
import type { Policy } from "./picking.js";

/** After a handful, an upstream is at most this many requests ahead of every other one that may be picked. */
const MAX_AHEAD = 31;
/** An upstream that could not be picked for a while catches up by at most this many requests. */
const MAX_BEHIND = 128;

export class RoundRobin<Candidate extends { readonly name: string; readonly weight?: number | undefined }>
  implements Policy<Candidate>
{
  private candidates: readonly Candidate[] = [];
  /** How many requests each candidate has got since the last change. */
  private given: number[] = [];
  /** The candidate whose turn it is. */
  private next = 0;
  /** The candidate that was picked last; -1 if it is gone. */
  private last = -1;
  /** A lower bound of `given`, and a lower bound among those that could be picked when it was computed. */
  private least = 0;
  private leastFree = 0;
  /** Set while the weights differ. */
  private weighted: WeightedTurns<Candidate> | undefined;

  /** Continues after the candidate that had the last turn, whatever its new position. */
  rebuild(candidates: readonly Candidate[]): void {
    const before = this.candidates;
    const placeOf = (at: number) => candidates.findIndex(({ name }) => name === before[at]?.name);
    const had = placeOf((this.next + before.length - 1) % before.length);
    if (had >= 0) this.next = (had + 1) % candidates.length;
    else if (this.next >= candidates.length) this.next = 0;
    this.last = placeOf(this.last);
    this.candidates = candidates;
    this.given = candidates.map(() => 0);
    this.forget();
    const weight = candidates[0]?.weight ?? 1;
    if (candidates.every((candidate) => (candidate.weight ?? 1) === weight)) this.weighted = undefined;
    else {
      this.weighted ??= new WeightedTurns<Candidate>();
      this.weighted.rebuild(candidates);
    }
  }

  forget(): void {
    this.given.fill(0);
    this.least = this.leastFree = 0;
  }

  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const { candidates, weighted } = this;
    if (weighted !== undefined) return weighted.pick(mayBePicked);
    const { length } = candidates;
    for (let i = 0, at = this.next; i < length; i++, at = at + 1 === length ? 0 : at + 1) {
      if (!mayBePicked(candidates[at] as Candidate)) continue;
      this.next = at + 1 === length ? 0 : at + 1;
      return this.give(at);
    }
    return undefined;
  }

  pickFewest(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const { candidates, given, last, weighted } = this;
    if (weighted !== undefined) return weighted.pick(mayBePicked);
    const { length } = candidates;
    let best = -1;
    let fewest = Number.POSITIVE_INFINITY;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0, at = last + 1 === length ? 0 : last + 1; i < length; i++, at = at + 1 === length ? 0 : at + 1) {
      const count = given[at] as number;
      if (count < least) least = count;
      if (count >= fewest || !mayBePicked(candidates[at] as Candidate)) continue;
      best = at;
      fewest = count;
      // Usually the first candidate.
      if (count === this.least) break;
    }
    if (best < 0) return undefined;
    if (fewest > this.least) this.catchUp(least, fewest);
    return this.give(best);
  }

  pickAgain(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const { candidates, given, last, weighted } = this;
    const candidate = candidates[last];
    if (weighted !== undefined || candidate === undefined || !mayBePicked(candidate)) return undefined;
    const count = given[last] as number;
    if (count >= this.leastFree + MAX_AHEAD) {
      this.leastFree = this.leastOf(mayBePicked);
      if (count >= this.leastFree + MAX_AHEAD) return undefined;
    }
    return this.give(last);
  }

  private give(at: number): Candidate {
    this.given[at] = (this.given[at] as number) + 1;
    this.last = at;
    return this.candidates[at] as Candidate;
  }

  /** Returns the minimum of `given` among those that may be picked. */
  private leastOf(mayBePicked: (candidate: Candidate) => boolean): number {
    const { candidates, given } = this;
    let least = Number.POSITIVE_INFINITY;
    for (let at = 0; at < given.length; at++)
      if ((given[at] as number) < least && mayBePicked(candidates[at] as Candidate)) least = given[at] as number;
    return least;
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
