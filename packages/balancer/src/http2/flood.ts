/**
 * Counts frames that are allowed but cause work without use: resets, settings, pings, empty frames and so on. Each kind has a burst
 * and a rate at which its count falls, as in nghttp2 and HAProxy. Pure: the caller passes the clock.
 */

/** How many may come at once, and how much the count falls per second. */
interface Allowance {
  atOnce: number;
  perSecond: number;
}

/**
 * Requests that end before their response: resets by the client (CVE-2023-44487), resets by this server for an error of the client
 * (CVE-2025-8671), and refused heads. A browser cancels at most all requests of one page at once.
 */
export const RESETS: Allowance = { atOnce: 256, perSecond: 32 };

/** Frames without useful content: SETTINGS, PING, PRIORITY, small WINDOW_UPDATE, empty DATA, and those of unknown types. */
export const IDLE_FRAMES: Allowance = { atOnce: 1000, perSecond: 200 };

/** DATA frames with a few bytes each, which cost as much as large ones: the bytes that are missing, in parts of SMALL_DATA_BYTES. */
export const SMALL_DATA: Allowance = { atOnce: 4000, perSecond: 2000 };
export const SMALL_DATA_BYTES = 64;

/** How much the count falls for a request, which may come with a priority and window updates, and for a frame with data. */
export const FORGIVEN_FOR_REQUEST = 4;
export const FORGIVEN_FOR_DATA = 2;

export class FloodCount {
  private count = 0;
  private countedAt = 0;

  constructor(
    private readonly allowance: Allowance,
    private readonly clock: { readonly now: number },
  ) {}

  /** Counts one, or as much as it costs. Returns false if it is too much. */
  take(amount = 1): boolean {
    const { atOnce, perSecond } = this.allowance;
    const { now } = this.clock;
    if (this.count === 0) this.countedAt = now;
    this.count += amount;
    if (this.count <= atOnce) return true;
    this.count = Math.max(amount, this.count - ((now - this.countedAt) * perSecond) / 1000);
    this.countedAt = now;
    return this.count <= atOnce;
  }

  /** The client has done something useful. */
  forgive(amount: number): void {
    if (this.count > 0) this.count = Math.max(0, this.count - amount);
  }
}
