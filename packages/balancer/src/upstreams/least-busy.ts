/** Least busy: picks the upstream with the fewest requests in flight relative to its weight. Among equals, picks the next in turn. */
import type { Policy } from "./picking.js";
import { RoundRobin } from "./round-robin.js";

interface Busy {
  readonly name: string;
  /** The number of its requests, of all balancers. */
  readonly load: number;
  readonly weight?: number | undefined;
}

export class LeastBusy<Candidate extends Busy> implements Policy<Candidate> {
  readonly decidesAlone = true;
  private readonly turns = new RoundRobin<Candidate>();
  private candidates: readonly Candidate[] = [];
  private fewest = 0;
  private mayBePicked: (candidate: Candidate) => boolean = () => false;
  private readonly isLeastBusy = (candidate: Candidate): boolean =>
    loadOf(candidate) <= this.fewest && this.mayBePicked(candidate);

  rebuild(candidates: readonly Candidate[]): void {
    this.candidates = candidates;
    this.turns.rebuild(candidates);
  }

  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    let fewest = Number.POSITIVE_INFINITY;
    for (const candidate of this.candidates) {
      const load = loadOf(candidate);
      if (load < fewest && mayBePicked(candidate)) fewest = load;
    }
    if (fewest === Number.POSITIVE_INFINITY) return undefined;
    this.fewest = fewest;
    this.mayBePicked = mayBePicked;
    return this.turns.pick(this.isLeastBusy);
  }
}

function loadOf({ load, weight = 1 }: Busy): number {
  return load / weight;
}
