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
const IDLE_FRAMES: Allowance = { atOnce: 1000, perSecond: 200 };

/**
 * DATA frames with less data than the smallest message of gRPC: the data that is missing, in parts of SMALL_DATA_BYTES. They cost as much
 * as large ones, but the sender pays for what it sends: further data and each piece of a response pay them back, so that a stream of
 * small messages is never too much.
 */
const SMALL_DATA: Allowance = { atOnce: 4000, perSecond: 2000 };
const SMALL_DATA_BYTES = 5;

/** Smaller pieces of bodies do not offset idle frames, unless they end a piece of a response as the app wrote it. */
const USEFUL_DATA_BYTES = 256;

/** How much the count of idle frames falls for a request, which may come with a priority and window updates, and for a frame with data. */
const FORGIVEN_FOR_REQUEST = 4;
const FORGIVEN_FOR_DATA = 2;
/** As much may be saved by frames of responses for the window updates that follow, which may come together. */
const SAVED_FOR_DATA = 10_000;
/** How much the count of resets falls for a response that was sent whole: clients with deadlines cancel a share of their requests. */
const FORGIVEN_FOR_RESPONSE = 0.25;

class FloodCount {
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
    if (this.count <= 0) this.countedAt = now;
    this.count += amount;
    if (this.count <= atOnce) return true;
    this.count = Math.max(amount, this.count - ((now - this.countedAt) * perSecond) / 1000);
    this.countedAt = now;
    return this.count <= atOnce;
  }

  /** Something useful was done. @param saved how much of it may be kept for later */
  forgive(amount: number, saved = 0): void {
    if (this.count > -saved) this.count = Math.max(-saved, this.count - amount);
  }
}

/** The counts of one connection. Those that return a boolean return false if it is too much. */
export class Floods {
  private readonly resets: FloodCount;
  private readonly idleFrames: FloodCount;
  private readonly smallData: FloodCount;

  constructor(clock: { readonly now: number }) {
    this.resets = new FloodCount(RESETS, clock);
    this.idleFrames = new FloodCount(IDLE_FRAMES, clock);
    this.smallData = new FloodCount(SMALL_DATA, clock);
  }

  /** Counts a frame without useful content, or one that costs as much as so many. */
  takeIdle(amount = 1): boolean {
    return this.idleFrames.take(amount);
  }

  takeReset(): boolean {
    return this.resets.take();
  }

  /** Counts a DATA frame by its data; one without any counts as an idle frame, by the caller. */
  takeData(bytes: number): boolean {
    const missing = 1 - bytes / SMALL_DATA_BYTES;
    if (missing > 0) return bytes === 0 || this.smallData.take(missing);
    this.smallData.forgive(-missing);
    return true;
  }

  /** A request has come. */
  onRequest(): void {
    this.idleFrames.forgive(FORGIVEN_FOR_REQUEST);
  }

  /** A piece of a request's body has come. */
  onRequestData(bytes: number): void {
    if (bytes >= USEFUL_DATA_BYTES) this.idleFrames.forgive(FORGIVEN_FOR_DATA);
  }

  /** A piece of a response's body was sent. @param isLast whether it ends a piece that the app wrote, or what waited */
  onResponseData(bytes: number, isLast: boolean): void {
    if (!isLast && bytes < USEFUL_DATA_BYTES) return;
    this.idleFrames.forgive(FORGIVEN_FOR_DATA, SAVED_FOR_DATA);
    this.smallData.forgive(1);
  }

  /** A response was sent whole. */
  onResponse(): void {
    this.resets.forgive(FORGIVEN_FOR_RESPONSE);
  }
}
