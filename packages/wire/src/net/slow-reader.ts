/** Judges whether a peer that does not read as fast as it is sent takes anything at all, by what its kernel acknowledged. */

/** What the judgement needs of a connection. */
export interface AcknowledgingConnection {
  /** How many of the bytes written so far the peer's kernel has acknowledged, as of that instant; -1 while that is not known. */
  acknowledgedBytes(since: number): number;
  /** False where only what left this process can be counted. */
  readonly seesAcknowledgements: boolean;
}

/** From this rate on a peer is never given up, in bytes a millisecond. */
const SLOWEST_READ = 1;

/** Most blocks are over before the first look. */
const MAX_FIRST_LOOK_MS = 1000;

/** Looks within `timeoutMs`. */
const LOOKS = 8;

/**
 * A kernel tells of its program's reading in steps, since it opens a closed window only by a good part of its buffer. Where
 * segments are large, as over the loopback interface, that is all of it: 128 KB, which at SLOWEST_READ take over two minutes.
 * So a peer may be silent for as long as its largest step takes at that rate, on top of `timeoutMs`, but not longer than this
 * many times `timeoutMs`.
 */
const MAX_SILENCE = 3;

/** The same where acknowledgements are not seen: a step is as large as what our own kernel holds, 200 KB for a unix socket. */
const MAX_UNSEEN_SILENCE = 4;

export class SlowReader {
  /** When the peer was last known to take something. */
  private progressAt = 0;
  /** What it had acknowledged at the last look; -1 before the first that knew. */
  private acknowledged = -1;
  /** The largest step so far. */
  private step = 0;
  private begunAt = 0;
  /** The same by `performance.now`: `now` may be the clock of a process, which its pauses stop. */
  private askedSince = 0;
  /** What it had acknowledged at the first look. */
  private firstAcknowledged = 0;

  constructor(
    private readonly connection: AcknowledgingConnection,
    /** How long it may take nothing, in milliseconds. */
    private readonly timeoutMs: number,
  ) {}

  /** Bytes have begun to wait for it. Returns the instant of the first look; until then this costs nothing. */
  begin(now: number): number {
    this.acknowledged = -1;
    this.step = 0;
    this.progressAt = now;
    this.begunAt = now;
    this.askedSince = performance.now();
    return now + Math.min(MAX_FIRST_LOOK_MS, this.timeoutMs / LOOKS);
  }

  /** Returns the instant of the next look, or 0 when it has taken nothing for too long. */
  look(now: number): number {
    const { timeoutMs } = this;
    const acknowledged = this.connection.acknowledgedBytes(this.askedSince);
    if (acknowledged < 0) return now + Math.min(MAX_FIRST_LOOK_MS, timeoutMs / LOOKS);
    const isFirst = this.acknowledged < 0;
    const step = acknowledged - Math.max(this.acknowledged, 0);
    if (isFirst) this.firstAcknowledged = acknowledged;
    else if (step > 0) this.progressAt = now;
    this.step = Math.max(this.step, step);
    this.acknowledged = acknowledged;
    const cutAt = this.progressAt + this.silenceMs;
    if (now < cutAt) return Math.min(cutAt, now + timeoutMs / LOOKS);
    // One look alone shows nothing.
    return isFirst ? now + timeoutMs / LOOKS : 0;
  }

  /** As `look`, for what must come to an end: whoever falls behind SLOWEST_READ for longer than any silence is cut as well. */
  lookAtPace(now: number): number {
    const next = this.look(now);
    if (this.acknowledged < 0) return next;
    const owed = (now - this.begunAt - this.longestStallMs) * SLOWEST_READ;
    return this.acknowledged - this.firstAcknowledged < owed ? 0 : next;
  }

  /** How long it may be silent. */
  private get silenceMs(): number {
    if (!this.connection.seesAcknowledgements) return this.longestStallMs;
    return Math.min(this.timeoutMs + this.step / SLOWEST_READ, this.longestStallMs);
  }

  private get longestStallMs(): number {
    return this.timeoutMs * (this.connection.seesAcknowledgements ? MAX_SILENCE : MAX_UNSEEN_SILENCE);
  }
}
