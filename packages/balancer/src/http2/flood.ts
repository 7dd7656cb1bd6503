/**
 * Counts what a client does that is allowed but costs more than it brings: resets, settings, pings, empty frames and the like. Each kind
 * has a number that may come at once and a rate at which it is forgiven, as in nghttp2 and HAProxy. Pure: the clock comes from outside.
 */

/** What may come at once, and how much of it is forgiven per second. */
interface Allowance {
  atOnce: number;
  perSecond: number;
}

/**
 * Requests that end before their response: the client's resets (CVE-2023-44487), and streams that this server resets for a fault of the
 * client (CVE-2025-8671), and heads that are refused. A browser cancels at most all its requests of one page at once.
 */
export const RESETS: Allowance = { atOnce: 256, perSecond: 32 };

/** Frames that carry nothing: SETTINGS, PING, PRIORITY, small WINDOW_UPDATE, empty DATA, and those of unknown types. */
export const IDLE_FRAMES: Allowance = { atOnce: 1000, perSecond: 200 };

/** How much is forgiven for a request, which may bring a priority and windows with it, and for a frame with data. */
export const FORGIVEN_FOR_REQUEST = 4;
export const FORGIVEN_FOR_DATA = 2;

export class FloodCount {
  private count = 0;
  private countedAt = 0;

  constructor(
    private readonly allowance: Allowance,
    private readonly clock: { readonly now: number },
  ) {}

  /** Counts one. Returns false if there are too many. */
  take(): boolean {
    const { atOnce, perSecond } = this.allowance;
    const { now } = this.clock;
    if (this.count === 0) this.countedAt = now;
    if (++this.count <= atOnce) return true;
    this.count = Math.max(1, this.count - ((now - this.countedAt) * perSecond) / 1000);
    this.countedAt = now;
    return this.count <= atOnce;
  }

  /** The client has done something useful. */
  forgive(amount: number): void {
    if (this.count > 0) this.count = Math.max(0, this.count - amount);
  }
}
