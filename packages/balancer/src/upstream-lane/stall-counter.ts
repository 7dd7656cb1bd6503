/** Counts how long an instance has said nothing to what it was asked, in ticks; see "Stalls" in docs/lane.md. Pure. */

/** A lane on which nothing moved for so many ticks, with requests under way, is asked whether it is there. */
const PING_AFTER_TICKS = 6;

/** With requests under way a lane is asked after so many ticks, about a second, also while bytes come. */
const LOOK_EVERY_TICKS = 64;

/** After so many looks in a row at which bytes had come and no PONG, the instance has gone wrong: it would hold its requests for ever. */
export const MAX_IGNORED_PINGS = 3;

export class StallCounter {
  /** Something was asked, and nothing has been heard since. */
  isAwaiting = false;
  private stallTicks = 0;
  private quietTicks = 0;
  /** PINGs without a PONG. */
  private owedPongs = 0;
  private ticksSinceLook = 0;
  /** No PONG has come since the last look, which asked for one. */
  private isOwedSinceLook = false;
  private isHeardSinceLook = false;
  /** PINGs of looks in a row that other bytes followed and no PONG; and for how many ticks they have been. */
  private ignoredPings = 0;
  private ignoredTicks = 0;

  get hasIgnoredPings(): boolean {
    return this.ignoredPings >= MAX_IGNORED_PINGS;
  }

  asked(): void {
    this.isAwaiting = true;
  }

  heard(): void {
    this.isAwaiting = false;
    this.isHeardSinceLook = true;
    this.stallTicks = this.quietTicks = 0;
  }

  /** A PONG came; false: no PING asked for it. */
  takePong(): boolean {
    this.ignoredPings = this.ignoredTicks = 0;
    this.isOwedSinceLook = false;
    return --this.owedPongs >= 0;
  }

  /**
   * A tick has passed, with requests under way; returns what the silent ones in a row count. `ping` asks; `isOwed` tells that there
   * are requests of which nothing was heard, whatever was heard of others since.
   */
  tick(weight: number, ping: () => void, isOwed = false): number {
    const isStalled = this.isAwaiting || isOwed;
    this.lookAtPongs(weight, ping);
    if (!this.isAwaiting && ++this.quietTicks >= PING_AFTER_TICKS) {
      this.quietTicks = 0;
      this.ask(ping);
      this.isAwaiting = true;
    }
    if (isStalled) this.stallTicks += weight;
    return Math.max(isStalled ? this.stallTicks : 0, this.ignoredTicks);
  }

  /** Bytes that come are no sign of an instance that reads: its PONGs are. */
  private lookAtPongs(weight: number, ping: () => void): void {
    this.ticksSinceLook += weight;
    if (this.ignoredPings > 0) this.ignoredTicks += weight;
    // Of one that is silent nothing more is known. Before its first byte, its HELLO, it is not asked.
    if (this.ticksSinceLook < LOOK_EVERY_TICKS || !this.isHeardSinceLook) return;
    if (this.isOwedSinceLook && this.ignoredPings++ === 0) this.ignoredTicks = this.ticksSinceLook;
    this.ask(ping);
    this.ticksSinceLook = 0;
    this.isHeardSinceLook = false;
    this.isOwedSinceLook = true;
  }

  private ask(ping: () => void): void {
    this.owedPongs++;
    ping();
  }
}
