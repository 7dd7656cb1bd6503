/**
 * Limits the memory of bytes that peers have not read: unread responses, and both directions in tcp mode. giving-way.ts has the order in
 * which peers are reset. Peers that have proved that they read do not count, as long as they have no more unread bytes than the limit.
 */
import { FAR_BEYOND, givesWay, giveWay, type Shortage, SLOWEST_READ, standingOf, YOUNG_MS } from "./giving-way.js";
import { FIRST_READINGS, type UnreadPlace } from "./unread-place.js";

/** For this time after it was first blocked, a peer may be judged without another check, in milliseconds. */
const NEW_MS = 1000;
/** Each byte that a peer reads pays for its time at SLOWEST_READ, but at most for this time ahead, in milliseconds. */
const MAX_PAID_MS = 10_000;
/** A reader with more unread bytes than this still counts: an HTTP/2 client may have the beginnings of a hundred responses. */
const MAX_READER_BYTES = 1 << 20;
/** The memory of a connection in addition to its unread bytes. */
const REST_BYTES = 4096;
/** The maximum number of peers that one pass checks, so that it stays short. */
const MAX_LOOKS = 64;
/** The minimum time between two passes over all peers, unless far more than the limit is used, in milliseconds. */
const PASS_EVERY_MS = 10;
/** The minimum time between two reports of resets, in milliseconds. */
const TELL_EVERY_MS = 10_000;

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
  /** Peers that count. */
  private readonly blocked = new Set<UnreadPlace>();
  /** Readers, which do not count; the one that was checked last is last. */
  private readonly readers = new Set<UnreadPlace>();
  private used = 0;
  /** The number of readers' unread bytes, which do not count. */
  private exemptBytes = 0;
  /** When the kernels' buffers were last read. */
  private knownAt = Number.NEGATIVE_INFINITY;
  private isArmed = false;
  /** When peers to reset were last searched. */
  private soughtAt = Number.NEGATIVE_INFINITY;
  /** Since when more than the limit is used. */
  private beyondSince: number | undefined;
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
    return this.spareBytes === 0;
  }

  /** How many more bytes may be unread before that. */
  get spareBytes(): number {
    return Math.max(0, this.options.maxBytes / 2 - this.used - this.exemptBytes);
  }

  /** Called when bytes, or further bytes, wait for a peer. */
  count(place: UnreadPlace): void {
    if (this.endExemption(place)) {
      if (this.mayExempt(place)) return this.exempt(place);
      this.blocked.add(place);
    } else if (!this.blocked.has(place)) this.block(place);
    this.recount(place);
    if (this.used > this.options.maxBytes) this.arm();
  }

  private block(place: UnreadPlace): void {
    const { now } = this.options.clock;
    place.paidUntil = Math.max(place.paidUntil, now);
    place.progressBytes = place.owner.progressBytes;
    if (place.firstBlockedAt === Number.POSITIVE_INFINITY) {
      place.beginProof(now);
      place.noteStep();
      // What a peer on this machine reads becomes known only after it was asked for.
      place.prove(now);
    } else place.firstBlockedAt += now - place.drainedAt;
    this.blocked.add(place);
  }

  /** Called when the peer has read everything. */
  drained(place: UnreadPlace): void {
    if (this.blocked.has(place) || this.readers.has(place)) {
      place.noteStep();
      if (!place.isReader) place.prove(this.options.clock.now);
    }
    this.free(place);
  }

  /** Called when the peer has disconnected, or its unread bytes are counted elsewhere. */
  free(place: UnreadPlace): void {
    if (this.blocked.has(place) || this.readers.has(place)) place.drainedAt = this.options.clock.now;
    this.endExemption(place);
    if (this.blocked.delete(place)) this.use(place, 0);
  }

  /** Called each second, because a peer becomes silent without any event. */
  look(): void {
    if (this.isScarce) this.knownAt = this.options.lookAtPeers();
    let looks = Math.min(MAX_LOOKS, this.readers.size);
    for (const place of this.readers) {
      if (looks-- === 0) break;
      this.endExemption(place);
      if (!this.isReading(place)) place.stopReading(this.options.clock.now);
      if (place.isReader && this.mayExempt(place)) {
        this.exempt(place);
        continue;
      }
      this.blocked.add(place);
      this.recount(place);
    }
    for (const place of [...this.blocked]) {
      if (this.isReading(place)) this.keep(place);
      else if (place.isReader) place.stopReading(this.options.clock.now);
    }
    if (this.isTight) this.relieve();
    // Reports the resets since the last report.
    else this.report();
  }

  private recount(place: UnreadPlace): void {
    this.use(place, place.owner.unreadBytes + REST_BYTES);
  }

  private use(place: UnreadPlace, bytes: number): void {
    this.used += bytes - place.bytes;
    place.bytes = bytes;
    if (this.used <= this.options.maxBytes) this.beyondSince = undefined;
    else this.beyondSince ??= this.options.clock.now;
  }

  /** Judges in a later turn, because the caller is in the middle of sending. */
  private arm(): void {
    if (this.isArmed) return;
    this.isArmed = true;
    setImmediate(this.onTurn);
  }

  private readonly onTurn = (): void => {
    this.isArmed = false;
    const isDue = this.options.clock.now - this.soughtAt >= PASS_EVERY_MS;
    if (isDue || this.usedShare() > FAR_BEYOND) this.relieve();
    else this.retry();
  };

  /** Returns the memory in use, as a multiple of the limit. */
  private readonly usedShare = (): number => this.used / this.options.maxBytes;

  private relieve(): void {
    const { maxBytes, clock, lookAtPeers } = this.options;
    this.knownAt = lookAtPeers();
    this.soughtAt = clock.now;
    for (const place of [...this.blocked]) if (place.isReader && this.isReading(place)) this.keep(place);
    const { now } = clock;
    let looks = MAX_LOOKS;
    const shortage: Shortage<UnreadPlace> = {
      ...{ now, beyondSince: this.beyondSince ?? now, used: this.usedShare, mayJudge: this.mayJudge },
      reset: (place) => {
        if (looks-- <= 0 && this.usedShare() <= FAR_BEYOND) return false;
        const standing = standingOf(place, now);
        this.isReading(place);
        const isToEnd = standingOf(place, now) === standing && givesWay(place, shortage);
        if (isToEnd) this.end(place);
        else this.keep(place);
        return isToEnd;
      },
    };
    giveWay(this.blocked, shortage);
    if (this.used > maxBytes) this.retry();
    this.report();
  }

  private retry(): void {
    this.timer ??= setTimeout(this.onTimer, YOUNG_MS).unref();
  }

  /** If it was not checked since it was blocked, only a new peer can be judged, because kernels fill their buffers immediately. */
  private readonly mayJudge = ({ firstBlockedAt, paidUntil }: UnreadPlace): boolean =>
    this.options.clock.now - firstBlockedAt < NEW_MS || this.knownAt - paidUntil >= YOUNG_MS;

  private readonly onTimer = (): void => {
    this.timer = undefined;
    if (this.used > this.options.maxBytes) this.relieve();
  };

  /** Called when the peer was seen to read. While memory is scarce, a reader does not count. */
  private keep(place: UnreadPlace): void {
    if (!this.isTight || !place.isReader || !this.mayExempt(place)) return;
    this.blocked.delete(place);
    this.exempt(place);
  }

  private mayExempt({ owner }: UnreadPlace): boolean {
    const { unreadBytes } = owner;
    const isLittle = unreadBytes + REST_BYTES <= this.options.maxBytes - this.exemptBytes;
    return unreadBytes <= this.maxReaderBytes && isLittle;
  }

  private exempt(place: UnreadPlace): void {
    this.use(place, 0);
    place.exemptBytes = place.owner.unreadBytes + REST_BYTES;
    this.exemptBytes += place.exemptBytes;
    this.readers.add(place);
  }

  /** Returns false if it was not exempt. */
  private endExemption(place: UnreadPlace): boolean {
    if (!this.readers.delete(place)) return false;
    this.exemptBytes -= place.exemptBytes;
    place.exemptBytes = 0;
    return true;
  }

  /** Whether it has read since the last check, or is a reader that has not stopped. */
  private isReading(place: UnreadPlace): boolean {
    const { now } = this.options.clock;
    const { progressBytes } = place.owner;
    if (place.bytes > 0) this.recount(place);
    // Even without progress, because it becomes known later how much it has certainly read.
    place.noteStep();
    this.noteFirstReading(place);
    const more = progressBytes - place.progressBytes;
    place.progressBytes = progressBytes;
    // The progress was corrected downwards; the next check decides.
    if (more < 0) {
      place.firstProgressBytes = Math.min(place.firstProgressBytes, progressBytes);
      if (place.firstReadings < FIRST_READINGS) place.paidUntil = Math.max(place.paidUntil, now);
    } else place.paidUntil = Math.min(now + MAX_PAID_MS, place.paidUntil + more / SLOWEST_READ);
    const wasReader = place.isReader;
    // Even without progress, because it may have read before it was blocked.
    if (!wasReader) place.prove(now);
    if (more < 0 || (more > 0 && !wasReader)) return true;
    return place.isReader && now < place.paidUntil + this.options.patienceMs + place.stepMs;
  }

  /** How many bytes kernels had accepted when it was first blocked is only known from a later reading. */
  private noteFirstReading(place: UnreadPlace): void {
    if (place.firstReadings === FIRST_READINGS || this.knownAt <= place.firstReadingAt) return;
    place.firstReadings++;
    place.firstReadingAt = this.knownAt;
    place.firstReadBytes = place.owner.surelyReadBytes ?? 0;
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
