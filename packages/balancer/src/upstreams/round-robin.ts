/** Round robin: each in turn, in slot order; by weight during a deploy. */
import type { Policy } from "./pool.js";
import { WeightedTurns } from "./weighted-turns.js";

export class RoundRobin<Candidate extends { readonly name: string; readonly weight?: number | undefined }>
  implements Policy<Candidate>
{
  private candidates: readonly Candidate[] = [];
  private next = 0;
  /** Set while weights differ. */
  private weighted: WeightedTurns<Candidate> | undefined;

  /** Continues after the last picked candidate, wherever it is now. */
  rebuild(candidates: readonly Candidate[]): void {
    const last = this.candidates[(this.next + this.candidates.length - 1) % this.candidates.length]?.name;
    const position = candidates.findIndex((candidate) => candidate.name === last);
    this.candidates = candidates;
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
    const { candidates, weighted } = this;
    if (weighted !== undefined) return weighted.pick(mayBePicked);
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[this.next] as Candidate;
      this.next = this.next + 1 === candidates.length ? 0 : this.next + 1;
      if (mayBePicked(candidate)) return candidate;
    }
    return undefined;
  }
}
