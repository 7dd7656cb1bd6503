/** Finds out whether a slow peer reads at all, by its kernel's acknowledgements. */

/** The part of a connection that is needed for this. */
export interface AcknowledgingConnection {
  /**
   * Returns how many of the bytes written so far the peer's kernel had acknowledged at that time or later; -1 if unknown.
   * @param timeoutMs how long the peer may read nothing
   */
  acknowledgedBytes(since: number, timeoutMs: number): number;
  /** False if acknowledgements are unknown, so that only bytes that left this process can be counted. */
  readonly seesAcknowledgements: boolean;
}

/** A peer that reads at this rate is never disconnected, in bytes per millisecond. */
export const SLOWEST_READ = 1;

/**
 * The largest step in which the kernel of a slow reader reports progress, in bytes. Over loopback, the reader's window reopens only after
 * its program has read all of it, and the buffers of slow readers do not grow.
 */
export const MAX_STEP_BYTES = 131_072;

/** Most pauses end before the first check. */
const MAX_FIRST_LOOK_MS = 1000;

/** The number of checks within `timeoutMs`. */
const LOOKS = 8;

/**
 * A kernel reports in steps what its program has read, because it reopens a closed window only by a large part of its buffer. With large
 * segments, as over loopback, that is the whole buffer of 128 KB, which takes over two minutes at SLOWEST_READ. So a peer may be silent for
 * the time that its largest step takes at that rate, in addition to `timeoutMs`, but at most for this multiple of `timeoutMs`.
 */
const MAX_SILENCE = 3;

/** The same without acknowledgements. A step is then as large as the local kernel's buffer, which is 200 KB for a unix socket. */
const MAX_UNSEEN_SILENCE = 4;

/** A look at the kernel's queues is followed by a pause of this multiple of its time, so that looks take at most 0.5 % of a CPU. */
const PAUSE_TIMES = 200;

/**
 * Returns the time until the next look at the kernel's queues, in milliseconds.
 * @param tookMs how long the last look took
 * @param leastMs the time if looks are cheap
 * @param timeoutMs how long a peer may read nothing. Several looks fit into it, whatever they cost, so that no reader counts as stopped
 */
export function pauseAfterLook(tookMs: number, leastMs: number, timeoutMs: number): number {
  return Math.max(leastMs, Math.min(tookMs * PAUSE_TIMES, timeoutMs / LOOKS));
}

export class SlowReader {
  /** When the peer last made progress. */
  private progressAt = 0;
  /** The bytes acknowledged at the last check; -1 before the first known value. */
  private acknowledged = -1;
  /** The largest step so far. */
  private step = 0;
  private startedAt = 0;
  /** `startedAt` by `performance.now`, because the caller's clock may stop during pauses. */
  private askedSince = 0;
  /** The bytes acknowledged at the first check. */
  private firstAcknowledged = 0;

  constructor(
    private readonly connection: AcknowledgingConnection,
    /** How long the peer may read nothing, in milliseconds. */
    private readonly timeoutMs: number,
  ) {}

  /** Called when bytes start to wait for the peer. Returns the time of the first check. Until then, this costs nothing. */
  begin(now: number): number {
    this.acknowledged = -1;
    this.step = 0;
    this.progressAt = now;
    this.startedAt = now;
    this.askedSince = performance.now();
    return now + Math.min(MAX_FIRST_LOOK_MS, this.timeoutMs / LOOKS);
  }

  /** Returns the time of the next check, or 0 if the peer has read nothing for too long. */
  look(now: number): number {
    const { timeoutMs } = this;
    const acknowledged = this.connection.acknowledgedBytes(this.askedSince, timeoutMs);
    if (acknowledged < 0) return now + Math.min(MAX_FIRST_LOOK_MS, timeoutMs / LOOKS);
    const isFirst = this.acknowledged < 0;
    const step = acknowledged - Math.max(this.acknowledged, 0);
    if (isFirst) this.firstAcknowledged = acknowledged;
    else if (step > 0) this.progressAt = now;
    this.step = Math.max(this.step, step);
    this.acknowledged = acknowledged;
    const cutAt = this.progressAt + this.silenceMs;
    if (now < cutAt) return Math.min(cutAt, now + timeoutMs / LOOKS);
    // A single check proves nothing.
    return isFirst ? now + timeoutMs / LOOKS : 0;
  }

  /**
   * Like `look`, but also disconnects a peer that is slower than this rate for too long. Used for the last connections of a process that
   * exits.
   * @param slowest in bytes per millisecond; 0: any
   */
  lookAtPace(now: number, slowest = SLOWEST_READ): number {
    const next = this.look(now);
    if (this.acknowledged < 0) return next;
    const owed = (now - this.startedAt - this.longestStallMs) * slowest;
    return this.acknowledged - this.firstAcknowledged < owed ? 0 : next;
  }

  /** How long the peer may be silent. */
  private get silenceMs(): number {
    if (!this.connection.seesAcknowledgements) return this.longestStallMs;
    return Math.min(this.timeoutMs + this.step / SLOWEST_READ, this.longestStallMs);
  }

  private get longestStallMs(): number {
    return this.timeoutMs * (this.connection.seesAcknowledgements ? MAX_SILENCE : MAX_UNSEEN_SILENCE);
  }
}
