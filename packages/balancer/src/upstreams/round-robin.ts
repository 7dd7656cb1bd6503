/** Round robin: the one that got the fewest requests; among equals each in turn, in slot order; by weight during a deploy. */
import type { Policy } from "./pool.js";
import { WeightedTurns } from "./weighted-turns.js";

/** One that could not be picked for a while gets at most this many requests ahead of the others. */
const MAX_BEHIND = 32;

export class RoundRobin<Candidate extends { readonly name: string; readonly weight?: number | undefined }>
  implements Policy<Candidate>
{
  private candidates: readonly Candidate[] = [];
  /** How many requests each has got since the last change. */
  private given: number[] = [];
  private next = 0;
  /** No candidate has got fewer. */
  private least = 0;
  /** Set while weights differ. */
  private weighted: WeightedTurns<Candidate> | undefined;

  /** Continues after the last picked candidate, wherever it is now. */
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
      // Usually the first one.
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

  /** @param least the fewest that any has got; @param fewest that of the picked one */
  private catchUp(least: number, fewest: number): void {
    this.least = Math.max(least, fewest - MAX_BEHIND);
    if (this.least === least) return;
    for (let at = 0; at < this.given.length; at++) this.given[at] = Math.max(this.given[at] as number, this.least);
  }
}
