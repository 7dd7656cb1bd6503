/** Counts how long an instance has not replied, in ticks; see "Stalls" in docs/lane.md. Pure. */

/** After this many quiet ticks with requests in flight, a lane is pinged. */
const PING_AFTER_TICKS = 6;

/** With requests in flight a lane is also pinged after this many ticks, about a second, while bytes arrive. */
const LOOK_EVERY_TICKS = 64;

/** After this many checks in a row with bytes but no PONG, the instance is faulty and could hold requests for ever. */
export const MAX_IGNORED_PINGS = 3;

export class StallCounter {
  /** Whether a reply is due and none of any kind has arrived since. */
  isAwaiting = false;
  private stallTicks = 0;
  private quietTicks = 0;
  /** PINGs without a PONG. */
  private owedPongs = 0;
  private ticksSinceLook = 0;
  /** Whether no PONG has arrived since the last check, which sent a PING. */
  private isOwedSinceLook = false;
  private hasReceivedSinceLook = false;
  /** PINGs in a row that were followed by other bytes but no PONG, and for how many ticks. */
  private ignoredPings = 0;
  private ignoredTicks = 0;

  get hasIgnoredPings(): boolean {
    return this.ignoredPings >= MAX_IGNORED_PINGS;
  }

  asked(): void {
    this.isAwaiting = true;
  }

  /** Bytes have arrived, whatever they say. */
  received(): void {
    this.hasReceivedSinceLook = true;
  }

  /** A frame has arrived that the instance only sends if it reads: one for a request of ours, a CANCELLED that is due, a PONG. */
  heard(): void {
    this.isAwaiting = false;
    this.stallTicks = this.quietTicks = 0;
  }

  /** Counts a PONG. Returns false if there was no PING for it. */
  takePong(): boolean {
    this.ignoredPings = this.ignoredTicks = 0;
    this.isOwedSinceLook = false;
    this.heard();
    return --this.owedPongs >= 0;
  }

  /**
   * Handles a tick with requests in flight. Returns the weight of stalled ticks in a row. `ping` sends a PING; `isOwed` means
   * that there are requests without a frame, whatever arrived for others.
   */
  tick(weight: number, ping: () => void, isOwed = false): number {
    const isStalled = this.isAwaiting || isOwed;
    this.lookAtPongs(weight, ping);
    if (!this.isAwaiting && ++this.quietTicks >= PING_AFTER_TICKS) this.askNow(ping);
    if (isStalled) this.stallTicks += weight;
    return Math.max(isStalled ? this.stallTicks : 0, this.ignoredTicks);
  }

  /** Sends a PING, unless a reply is due already. */
  askNow(ping: () => void): void {
    if (this.isAwaiting) return;
    this.quietTicks = 0;
    this.ask(ping);
    this.isAwaiting = true;
  }

  /** Checks PONGs: other bytes do not prove that the instance reads. */
  private lookAtPongs(weight: number, ping: () => void): void {
    this.ticksSinceLook += weight;
    if (this.ignoredPings > 0) this.ignoredTicks += weight;
    // A silent instance needs no check, and before its HELLO it is not pinged.
    if (this.ticksSinceLook < LOOK_EVERY_TICKS || !this.hasReceivedSinceLook) return;
    if (this.isOwedSinceLook && this.ignoredPings++ === 0) this.ignoredTicks = this.ticksSinceLook;
    this.ask(ping);
    this.ticksSinceLook = 0;
    this.hasReceivedSinceLook = false;
    this.isOwedSinceLook = true;
  }

  private ask(ping: () => void): void {
    this.owedPongs++;
    ping();
  }
}
