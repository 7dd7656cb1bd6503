/**
 * Under load, one upstream gets several requests in a row within a turn of the event loop. These are quick requests that are not worth
 * waking another upstream, or as many as are needed to wake no more upstreams than there are CPUs.
 */

const MAX_HANDFUL = 32;

/** How many instances can run at once. */
export function processors(): number {
  return process.getBuiltinModule("node:os").availableParallelism();
}

/** The mean number of picks covers about this many turns. */
const MEAN_OVER_TURNS = 8;

export class Handful {
  private turn = -1;
  /** Picks in this turn. */
  private picks = 0;
  /** The mean number of picks in a turn, over the turns with any pick. */
  private mean = 1;
  /** How many requests one upstream gets in a row. */
  private size = 1;
  private rest = 0;

  /** @param processors how many instances can run at once */
  constructor(private readonly processors: number) {}

  /**
   * Counts a pick. Returns whether it may go to the same upstream as the previous one.
   * @param turn the number of this turn of the event loop
   * @param perWake how many requests are not worth waking another instance
   */
  take(turn: number, perWake = 1): boolean {
    if (turn !== this.turn) this.begin(turn, perWake);
    this.picks++;
    if (this.rest === 0) {
      this.rest = this.size - 1;
      return false;
    }
    this.rest--;
    return true;
  }

  /** Called when the upstream has no room. The next upstream then starts a new row with this pick. */
  pass(): void {
    this.rest = this.size - 1;
  }

  /** Starts a turn. The rest of the last turn's row is dropped. */
  private begin(turn: number, perWake: number): void {
    this.mean += (this.picks - this.mean) / MEAN_OVER_TURNS;
    const size = Math.max(Math.ceil(this.mean / this.processors), Math.min(Math.ceil(this.mean), perWake));
    this.size = Math.min(MAX_HANDFUL, Math.max(1, size));
    this.turn = turn;
    this.picks = this.rest = 0;
  }
}
