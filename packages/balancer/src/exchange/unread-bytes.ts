/**
 * Limits the memory of bytes that peers have not read: unread responses, and both directions in tcp mode. Above half of the limit, peers
 * that have read nothing for some seconds are reset. Above the limit, peers are reset that have read nothing since they were blocked. Those
 * that have waited longest come first. A slow but steady reader is never reset, and counts only if it has very many unread bytes.
 */

/**
 * After this time without reading, a peer may be reset before the limit is reached, in milliseconds. A distant reader of 1,000 bytes a
 * second acknowledges its reading only every 4 to 8 s. Node makes several checks in this time.
 */
const SILENT_MS = 10_000;
/** A peer that reads at this rate is not reset, in bytes per millisecond. */
const SLOWEST_READ = 1;
/**
 * A kernel reports in steps what its program has read (see SlowReader). A peer may therefore be silent for the additional time that such a
 * step takes at that rate. Steps have at most this size, because the buffers of slow readers do not grow. Over TLS a program reads a whole
 * record of 16 KiB at once.
 */
const MAX_STEP_BYTES = 131_072 + 16_384;
/** A peer that was blocked for a shorter time is not judged: the acknowledgement of a distant peer takes a while. In milliseconds. */
const YOUNG_MS = 100;
/** Above this multiple of the limit, YOUNG_MS does not apply. */
const FAR_BEYOND = 1.5;
/** For this time after it was first blocked, a peer may be judged without a new check. In milliseconds. */
const NEW_MS = 1000;
/**
 * A peer is a reader if it has read this many bytes since it was first blocked, or still reads after this time. A peer that does not read
 * fills the kernels' buffers with fewer bytes, and earlier, even on a busy machine.
 */
const PROOF_BYTES = 262_144;
const PROOF_MS = 10_000;
/** A reader with more unread bytes counts all the same: an HTTP/2 client may have the beginnings of a hundred responses unread. */
const MAX_READER_BYTES = 1 << 20;
/** The memory of a connection in addition to its unread bytes. */
const REST_BYTES = 4096;
/** The maximum number of readers that are checked in one pass, so that it stays short. */
const MAX_LOOKS = 64;
/** The minimum time between two reports of resets, in milliseconds. */
const TELL_EVERY_MS = 10_000;

export interface UnreadOwner {
  /** The number of its unread bytes now. */
  readonly unreadBytes: number;
  /** Grows while the peer reads. */
  readonly progressBytes: number;
  /** The number of bytes that it has certainly read; `progressBytes` may include many that only the kernel has taken. */
  readonly surelyReadBytes?: number | undefined;
  /** Closes the connection to make room for others. */
  giveUnreadWay(): void;
}

/** The entry of a connection; it lasts as long as the connection. */
export class UnreadPlace {
  /** Set by UnreadBytes, like all fields below. */
  bytes = 0;
  progressBytes = 0;
  /** The time of `progressBytes`. */
  knownAt = 0;
  /** When it was first blocked, in milliseconds of the clock, and its progress at that time. */
  firstBlockedAt = Number.POSITIVE_INFINITY;
  firstProgressBytes = 0;
  firstReadBytes = 0;
  /** Since when it is blocked and has read nothing. */
  blockedAt = 0;
  /** When it was last seen to read. After that, a reader may pause for `patienceMs` and for the time of its step. */
  readAt = 0;
  /** How many read bytes its kernel may not have reported yet: all that it has taken, but at most MAX_STEP_BYTES. */
  step = 0;
  /** Whether it reads, however slowly. */
  isReader = false;
  /** The number of its unread bytes at the last check, while they do not count. */
  exemptBytes = 0;

  constructor(readonly owner: UnreadOwner) {}
}

const surelyRead = ({ owner }: UnreadPlace) => owner.surelyReadBytes ?? owner.progressBytes;

interface UnreadOptions {
  maxBytes: number;
  clock: { readonly now: number };
  /** A reader with more unread bytes than this counts, too. */
  maxReaderBytes?: number;
  /** How long a reader may read nothing, in milliseconds. */
  patienceMs: number;
  /** Receives a line for the operator. */
  tell(line: string): void;
  /** Updates the progress of peers before they are judged. Returns the time of that progress. */
  lookAtPeers(): number;
}

export class UnreadBytes {
  /** Peers that count; the one that has waited longest is first. */
  private readonly blocked = new Set<UnreadPlace>();
  /** Readers, which do not count; the one that was checked last is last. */
  private readonly readers = new Set<UnreadPlace>();
  private used = 0;
  /** The number of readers' unread bytes, which do not count. */
  private exemptBytes = 0;
  private isArmed = false;
  private timer: NodeJS.Timeout | undefined;
  /** How many connections were reset. */
  endedTotal = 0;
  private untold = 0;
  private tellAt = Number.NEGATIVE_INFINITY;

  private readonly maxReaderBytes: number;

  constructor(private readonly options: UnreadOptions) {
    this.maxReaderBytes = options.maxReaderBytes ?? MAX_READER_BYTES;
  }

  /** Whether half of the limit is used, so that peers with unread bytes may be reset. */
  get isTight(): boolean {
    return this.used > this.options.maxBytes / 2;
  }

  /** Whether so many bytes are unread, including those of readers, that only little of each response should be in transit. */
  get isScarce(): boolean {
    return this.used + this.exemptBytes > this.options.maxBytes / 2;
  }

  /** Called when bytes, or further bytes, wait for a peer. */
  count(place: UnreadPlace): void {
    if (this.readers.has(place) && place.owner.unreadBytes <= this.maxReaderBytes) return;
    this.endExemption(place);
    if (!this.blocked.has(place)) this.block(place);
    this.recount(place);
    if (this.isTight) this.arm();
  }

  private block(place: UnreadPlace): void {
    const { now } = this.options.clock;
    place.blockedAt = place.readAt = place.knownAt = now;
    place.progressBytes = place.owner.progressBytes;
    if (now < place.firstBlockedAt) {
      place.firstBlockedAt = now;
      place.firstProgressBytes = place.progressBytes;
      place.firstReadBytes = place.owner.surelyReadBytes ?? 0;
      this.noteStep(place);
    }
    this.blocked.add(place);
  }

  /** Called when the peer has read everything. */
  drained(place: UnreadPlace): void {
    if (this.blocked.has(place) || this.readers.has(place)) this.noteStep(place);
    if (!place.isReader) this.prove(place, place.owner.progressBytes);
    this.free(place);
  }

  /** Called when the peer has disconnected, or its unread bytes are counted elsewhere. */
  free(place: UnreadPlace): void {
    this.endExemption(place);
    if (!this.blocked.delete(place)) return;
    this.used -= place.bytes;
    place.bytes = 0;
  }

  /** Called each second, because a peer becomes silent without any event. */
  look(): void {
    let looks = Math.min(MAX_LOOKS, this.readers.size);
    for (const place of this.readers) {
      if (looks-- === 0) break;
      this.endExemption(place);
      if (this.isReading(place)) {
        this.exempt(place);
        continue;
      }
      // The peer has to prove again that it reads.
      place.isReader = false;
      this.count(place);
    }
    if (this.isTight) this.relieve();
    // Reports the resets since the last report.
    else this.report();
  }

  private recount(place: UnreadPlace): void {
    const bytes = place.owner.unreadBytes + REST_BYTES;
    this.used += bytes - place.bytes;
    place.bytes = bytes;
  }

  /** Judges in a later turn, because the caller is in the middle of sending. */
  private arm(): void {
    if (this.isArmed) return;
    this.isArmed = true;
    setImmediate(this.onTurn);
  }

  private readonly onTurn = (): void => {
    this.isArmed = false;
    this.relieve();
  };

  private relieve(): void {
    const { blocked } = this;
    const { maxBytes, clock, lookAtPeers } = this.options;
    const knownAt = lookAtPeers();
    // Each peer is checked once.
    let looks = this.used > FAR_BEYOND * maxBytes ? blocked.size : Math.min(MAX_LOOKS, blocked.size);
    for (const place of blocked) {
      if (this.used <= maxBytes / 2 || looks === 0) break;
      if (!this.mayJudge(place, knownAt)) continue;
      if (this.isReading(place)) {
        looks--;
        blocked.delete(place);
        if (place.isReader && place.bytes <= this.maxReaderBytes) this.exempt(place);
        else blocked.add(place);
        continue;
      }
      if (clock.now - place.blockedAt >= this.leastSilenceMs(place)) {
        this.end(place);
        continue;
      }
      looks--;
      if (this.used <= maxBytes) continue;
      // All peers behind it were blocked later.
      this.timer ??= setTimeout(this.onTimer, YOUNG_MS);
      break;
    }
    this.report();
  }

  /** Without a check since it was blocked, only a new peer can be judged: kernels fill their buffers at once. */
  private mayJudge(place: UnreadPlace, knownAt: number): boolean {
    return knownAt > place.knownAt || this.options.clock.now - place.firstBlockedAt < NEW_MS;
  }

  /** Returns how long this peer must have read nothing to be reset now. */
  private leastSilenceMs({ step }: UnreadPlace): number {
    const { maxBytes } = this.options;
    if (this.used <= maxBytes) return SILENT_MS + step / SLOWEST_READ;
    return this.used <= FAR_BEYOND * maxBytes ? YOUNG_MS : 0;
  }

  private readonly onTimer = (): void => {
    this.timer = undefined;
    if (this.used > this.options.maxBytes) this.relieve();
  };

  private exempt(place: UnreadPlace): void {
    this.used -= place.bytes;
    place.bytes = 0;
    place.exemptBytes = place.owner.unreadBytes + REST_BYTES;
    this.exemptBytes += place.exemptBytes;
    this.readers.add(place);
  }

  private endExemption(place: UnreadPlace): void {
    if (!this.readers.delete(place)) return;
    this.exemptBytes -= place.exemptBytes;
    place.exemptBytes = 0;
  }

  /** Whether it has read since the last check, or is a reader within its allowed pause. */
  private isReading(place: UnreadPlace): boolean {
    const { now } = this.options.clock;
    const { progressBytes } = place.owner;
    if (place.bytes > 0) this.recount(place);
    // Also without progress, because its certain reading becomes known later.
    this.noteStep(place);
    if (progressBytes !== place.progressBytes) {
      const isMore = progressBytes > place.progressBytes;
      place.progressBytes = progressBytes;
      place.blockedAt = place.knownAt = now;
      // The progress was corrected downwards; the next check decides.
      if (!isMore) {
        place.firstProgressBytes = Math.min(place.firstProgressBytes, progressBytes);
        return true;
      }
      place.readAt = now;
      this.prove(place, progressBytes);
      return true;
    }
    const patienceMs = this.options.patienceMs + place.step / SLOWEST_READ;
    return place.isReader && now - place.readAt < patienceMs;
  }

  private noteStep(place: UnreadPlace): void {
    place.step = Math.min(MAX_STEP_BYTES, Math.max(place.step, surelyRead(place)));
  }

  /** Called when the peer has read. */
  private prove(place: UnreadPlace, progressBytes: number): void {
    const { firstBlockedAt, firstProgressBytes, firstReadBytes } = place;
    const { surelyReadBytes } = place.owner;
    const readBytes =
      surelyReadBytes === undefined ? progressBytes - firstProgressBytes : surelyReadBytes - firstReadBytes;
    if (readBytes >= PROOF_BYTES || this.options.clock.now - firstBlockedAt >= PROOF_MS) place.isReader = true;
  }

  private end(place: UnreadPlace): void {
    this.free(place);
    this.endedTotal++;
    this.untold++;
    place.owner.giveUnreadWay();
  }

  private report(): void {
    const { clock, tell, maxBytes } = this.options;
    if (this.untold === 0 || clock.now < this.tellAt) return;
    this.tellAt = clock.now + TELL_EVERY_MS;
    const [count, verb] = this.untold === 1 ? ["a connection", "was"] : [`${this.untold} connections`, "were"];
    tell(
      `${count} whose peer reads nothing ${verb} reset: unread bytes are near balancer.limits.maxUnreadBytes (${maxBytes})`,
    );
    this.untold = 0;
  }
}
