/** Counts in ticks how long an instance has not replied; see "Stalls" in docs/lane.md. Pure. */

/** After this many ticks without bytes and with requests in flight, the lane is pinged. */
const PING_AFTER_TICKS = 6;

/** With requests in flight, the lane is also pinged after this many ticks, about a second, while bytes arrive. */
const LOOK_EVERY_TICKS = 64;

/**
 * After this many consecutive checks that found other bytes but no PONG, the instance counts as faulty, because it could hold requests
 * forever.
 */
export const MAX_IGNORED_PINGS = 3;

export class StallCounter {
  /** Whether a reply is due and no byte has arrived since it became due. */
  isAwaiting = false;
  private stallTicks = 0;
  private quietTicks = 0;
  /** The number of PINGs without a PONG. */
  private owedPongs = 0;
  private ticksSinceLook = 0;
  /** Whether no PONG has arrived since the last check, which sent a PING. */
  private isOwedSinceLook = false;
  private hasReceivedSinceLook = false;
  /** The number of consecutive PINGs that were followed by other bytes but no PONG, and the ticks since the first of them. */
  private ignoredPings = 0;
  private ignoredTicks = 0;

  get hasIgnoredPings(): boolean {
    return this.ignoredPings >= MAX_IGNORED_PINGS;
  }

  asked(): void {
    this.isAwaiting = true;
  }

  /** Called when bytes have arrived, whatever they contain. */
  received(): void {
    this.hasReceivedSinceLook = true;
  }

  /** Called for a frame that proves that the instance reads: one for a request, a CANCELLED that is due, or a PONG. */
  heard(): void {
    this.isAwaiting = false;
    this.stallTicks = this.quietTicks = 0;
  }

  /** Counts a PONG. Returns false if no PING was sent for it. */
  takePong(): boolean {
    this.ignoredPings = this.ignoredTicks = 0;
    this.isOwedSinceLook = false;
    this.heard();
    return --this.owedPongs >= 0;
  }

  /**
   * Handles a tick with requests in flight. Returns the weight of the consecutive stalled ticks.
   * @param ping sends a PING
   * @param isOwed whether there are requests for which no frame has arrived, even if frames arrived for others
   */
  tick(weight: number, ping: () => void, isOwed = false): number {
    const isStalled = this.isAwaiting || isOwed;
    this.lookAtPongs(weight, ping);
    if (!this.isAwaiting && ++this.quietTicks >= PING_AFTER_TICKS) this.askNow(ping);
    if (isStalled) this.stallTicks += weight;
    return Math.max(isStalled ? this.stallTicks : 0, this.ignoredTicks);
  }

  /** Sends a PING, unless a reply is already due. */
  askNow(ping: () => void): void {
    if (this.isAwaiting) return;
    this.quietTicks = 0;
    this.ask(ping);
    this.isAwaiting = true;
  }

  /** Checks PONGs, because other bytes do not prove that the instance reads. */
  private lookAtPongs(weight: number, ping: () => void): void {
    this.ticksSinceLook += weight;
    if (this.ignoredPings > 0) this.ignoredTicks += weight;
    // A silent instance needs no check, and before its HELLO an instance is not pinged.
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
