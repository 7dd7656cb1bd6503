/**
 * Counts frames that are allowed but cause useless work: resets, settings, pings, empty frames and so on. Each kind has a burst and a rate
 * at which its count falls, as in nghttp2 and HAProxy. Pure: the caller passes the time.
 */

/** How many of these frames may arrive at once, and by how much the count falls per second. */
interface Allowance {
  atOnce: number;
  perSecond: number;
}

/**
 * Requests that end before their response: reset by the client (CVE-2023-44487), reset by this server because of a client error
 * (CVE-2025-8671), or refused by their head. A browser cancels at most all requests of one page at once.
 */
export const RESETS: Allowance = { atOnce: 256, perSecond: 32 };

/** Frames without useful content: SETTINGS, PING, PRIORITY, small WINDOW_UPDATE, empty DATA, and frames of unknown types. */
const IDLE_FRAMES: Allowance = { atOnce: 1000, perSecond: 200 };

/**
 * DATA frames that are smaller than the smallest gRPC message, counted by the missing bytes in units of SMALL_DATA_BYTES. A small frame
 * costs this server as much as a large one. Further data and each piece of a response reduce the count. So a stream of small messages is
 * never refused.
 */
const SMALL_DATA: Allowance = { atOnce: 4000, perSecond: 2000 };
const SMALL_DATA_BYTES = 5;

/** Smaller pieces of bodies, in bytes, do not offset idle frames, unless they end a piece that the app wrote. */
const USEFUL_DATA_BYTES = 256;

/**
 * By how much the count of idle frames falls for a request, which may arrive with a priority and window updates, and for a frame with data.
 */
const FORGIVEN_FOR_REQUEST = 4;
const FORGIVEN_FOR_DATA = 2;
/** Frames of responses may save this much in advance, for the window updates that follow them, possibly all at once. */
const SAVED_FOR_DATA = 10_000;
/** By how much the count of resets falls for a complete response: clients with deadlines cancel a share of their requests. */
const FORGIVEN_FOR_RESPONSE = 0.25;

class FloodCount {
  private count = 0;
  private countedAt = 0;

  constructor(
    private readonly allowance: Allowance,
    private readonly clock: { readonly now: number },
  ) {}

  /** Counts one event, or its cost. Returns false if the count is too high. */
  take(amount = 1): boolean {
    const { atOnce, perSecond } = this.allowance;
    const { now } = this.clock;
    if (this.count <= 0) this.countedAt = now;
    this.count += amount;
    if (this.count <= atOnce) return true;
    this.count = Math.max(amount, this.count - ((now - this.countedAt) * perSecond) / 1000);
    this.countedAt = now;
    return this.count <= atOnce;
  }

  /**
   * Reduces the count after something useful.
   * @param saved how much may be saved for later
   */
  forgive(amount: number, saved = 0): void {
    if (this.count > -saved) this.count = Math.max(-saved, this.count - amount);
  }
}

/** The counts of one connection. Methods that return a boolean return false if a count is too high. */
export class Floods {
  private readonly resets: FloodCount;
  private readonly idleFrames: FloodCount;
  private readonly smallData: FloodCount;

  constructor(clock: { readonly now: number }) {
    this.resets = new FloodCount(RESETS, clock);
    this.idleFrames = new FloodCount(IDLE_FRAMES, clock);
    this.smallData = new FloodCount(SMALL_DATA, clock);
  }

  /** Counts a frame without useful content, or one that costs as much as `amount` of them. */
  takeIdle(amount = 1): boolean {
    return this.idleFrames.take(amount);
  }

  takeReset(): boolean {
    return this.resets.take();
  }

  /** Counts a DATA frame by its data. The caller counts one without data as an idle frame. */
  takeData(bytes: number): boolean {
    const missing = 1 - bytes / SMALL_DATA_BYTES;
    if (missing > 0) return bytes === 0 || this.smallData.take(missing);
    this.smallData.forgive(-missing);
    return true;
  }

  /** Called when a request arrives. */
  onRequest(): void {
    this.idleFrames.forgive(FORGIVEN_FOR_REQUEST);
  }

  /** Called when a piece of a request's body arrives. */
  onRequestData(bytes: number): void {
    if (bytes >= USEFUL_DATA_BYTES) this.idleFrames.forgive(FORGIVEN_FOR_DATA);
  }

  /**
   * Called when a piece of a response's body was sent.
   * @param isLast whether it ends a piece that the app wrote, or all waiting data
   */
  onResponseData(bytes: number, isLast: boolean): void {
    if (!isLast && bytes < USEFUL_DATA_BYTES) return;
    this.idleFrames.forgive(FORGIVEN_FOR_DATA, SAVED_FOR_DATA);
    this.smallData.forgive(1);
  }

  /** Called when a complete response was sent. */
  onResponse(): void {
    this.resets.forgive(FORGIVEN_FOR_RESPONSE);
  }
}
