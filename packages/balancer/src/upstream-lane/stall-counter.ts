/** Counts how long an instance has said nothing to what it was asked, in ticks; see "Stalls" in docs/lane.md. Pure. */

/** A lane on which nothing moved for so many ticks, with requests under way, is asked whether it is there. */
const PING_AFTER_TICKS = 6;

export class StallCounter {
  /** Something was asked, and nothing has been heard since. */
  isAwaiting = false;
  private stallTicks = 0;
  private quietTicks = 0;

  asked(): void {
    this.isAwaiting = true;
  }

  heard(): void {
    this.isAwaiting = false;
    this.stallTicks = this.quietTicks = 0;
  }

  /**
   * A tick has passed, with requests under way; returns what the silent ones in a row count. `ping` asks; `isOwed` tells that there
   * are requests of which nothing was heard, whatever was heard of others since.
   */
  tick(weight: number, ping: () => void, isOwed = false): number {
    const isStalled = this.isAwaiting || isOwed;
    if (!this.isAwaiting && ++this.quietTicks >= PING_AFTER_TICKS) {
      this.quietTicks = 0;
      ping();
      this.isAwaiting = true;
    }
    if (isStalled) this.stallTicks += weight;
    return isStalled ? this.stallTicks : 0;
  }
}
