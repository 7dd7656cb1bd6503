/** Random two: draws two upstreams at random and picks the one with the smaller product of latency and requests, relative to its weight. */
import type { Policy } from "./picking.js";

interface Measured {
  readonly name: string;
  /** The number of its requests, of all balancers. */
  readonly load: number;
  readonly weight?: number | undefined;
  readonly latency?: { readonly ms: number } | undefined;
}

/** If this many random draws find no upstream that may be picked, all are examined. */
const MAX_DRAWS = 4;
/** An upstream without a response so far gets one request, and counts as slow until it responds. */
const UNKNOWN_MS = 1_000_000;

export class RandomTwo<Candidate extends Measured> implements Policy<Candidate> {
  readonly decidesAlone = true;
  private candidates: readonly Candidate[] = [];

  /** @param random returns numbers from 0 to below 1 */
  constructor(private readonly random: () => number) {}

  rebuild(candidates: readonly Candidate[]): void {
    this.candidates = candidates;
  }

  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined {
    const first = this.draw(mayBePicked, undefined);
    if (first === undefined) return undefined;
    const second = this.draw(mayBePicked, first);
    return second === undefined || costOf(first) <= costOf(second) ? first : second;
  }

  private draw(mayBePicked: (candidate: Candidate) => boolean, except: Candidate | undefined): Candidate | undefined {
    const { candidates } = this;
    const { length } = candidates;
    let at = 0;
    for (let draw = 0; draw < MAX_DRAWS; draw++) {
      at = Math.floor(this.random() * length);
      const candidate = candidates[at];
      if (candidate !== undefined && candidate !== except && mayBePicked(candidate)) return candidate;
    }
    for (let i = 1; i < length; i++) {
      const candidate = candidates[(at + i) % length] as Candidate;
      if (candidate !== except && mayBePicked(candidate)) return candidate;
    }
    return undefined;
  }
}

function costOf({ load, weight = 1, latency }: Measured): number {
  const ms = latency?.ms ?? 0;
  if (ms === 0) return load === 0 ? 0 : (UNKNOWN_MS + load) / weight;
  return (ms * (load + 1)) / weight;
}
