/** Which requests have waited for so long behind a running handler that they move to another instance. Pure. */
import type { RunningWork } from "@paceline/wire/lane/scoreboard";
import { isUpTo } from "./stream-table.js";

/** So many ticks are remembered; requests that may wait for longer are left to the stall detector. */
const MAX_TICKS = 64;

/** Remembers how many requests a lane had sent at each of the last ticks. */
export class SentAtTicks {
  private readonly sequences: number[] = [];
  private at = 0;

  /** @param sequence the number of requests sent so far */
  tick(sequence: number): void {
    this.sequences[this.at] = sequence;
    this.at = (this.at + 1) % MAX_TICKS;
  }

  /** Returns the number of requests that had been sent that many ticks before the last one; 0 if it is not known. */
  before(ticks: number): number {
    if (ticks >= MAX_TICKS) return 0;
    return this.sequences[(this.at - 1 - ticks + 2 * MAX_TICKS) % MAX_TICKS] ?? 0;
  }

  clear(): void {
    this.sequences.length = this.at = 0;
  }
}

interface WaitingRequest {
  /** Its number among the requests of its lane. */
  readonly sequence: number;
  readonly isIdempotent: boolean;
}

/**
 * Returns the requests that certainly wait behind another one's handler, which is running, and are as old as that.
 * @param unanswered in the order in which they were sent
 * @param upTo the last sequence that has waited for long enough
 */
export function waitingFor<Request extends WaitingRequest>(
  unanswered: readonly Request[],
  work: RunningWork | undefined,
  upTo: number,
): Request[] {
  // An instance that runs no handler starts them as soon as it is on the processor.
  if (work === undefined || work.on === "none") return [];
  return unanswered.filter(
    ({ sequence, isIdempotent }) => isIdempotent && isUpTo(sequence, upTo) && !isUpTo(sequence, work.started),
  );
}
