/**
 * Limits the memory of bytes that peers have not read: unread responses, and both directions in tcp mode. giving-way.ts has the order in
 * which peers are reset. Peers that have proved that they read do not count, as long as they have no more unread bytes than the limit.
 */
import { SLOWEST_READ } from "@paceline/wire";
import { FAR_BEYOND, givesWay, giveWay, type Shortage, standingOf, YOUNG_MS } from "./giving-way.js";
import { FIRST_READINGS, type UnreadEntry } from "./unread-entry.js";

/** For this long after a peer was first blocked, no further check is needed before it may be reset, in milliseconds. */
const NEW_MS = 1000;
/** A byte that a peer reads pays for the time that it takes at SLOWEST_READ, but at most for this time ahead, in milliseconds. */
const MAX_PAID_MS = 10_000;
/** A reader with more unread bytes than this still counts: an HTTP/2 client may have the beginnings of a hundred responses. */
const MAX_READER_BYTES = 1 << 20;
/** The memory of a connection in addition to its unread bytes. */
const REST_BYTES = 4096;
/** The maximum number of peers that one pass checks, so that it stays short. */
const MAX_LOOKS = 64;
/** The maximum number of peers that one turn of the event loop resets: hundreds would block it for tens of milliseconds on Node. */
const MAX_RESETS = 64;
/** The minimum time between two passes over all peers, unless far more than the limit is used, in milliseconds. */
const PASS_EVERY_MS = 10;
/** The minimum time between two reports of resets, in milliseconds. */
const REPORT_EVERY_MS = 10_000;

interface UnreadOptions {
  maxBytes: number;
  clock: { readonly now: number };
  /** A reader with more unread bytes than this counts, too. */
  maxReaderBytes?: number;
  /** How long a reader may read nothing, in milliseconds. */
  patienceMs: number;
  /** Receives a line for the operator. */
  onNotice(line: string): void;
  /** Updates the progress of peers before a decision about them. Returns the time of this progress. */
  lookAtPeers(): number;
}

export class UnreadBytes {
  /** Peers that count. */
  private readonly blocked = new Set<UnreadEntry>();
  /** Readers, which do not count, in the order in which they were last checked. */
  private readonly readers = new Set<UnreadEntry>();
  private used = 0;
  /** The number of readers' unread bytes. They do not count towards the limit. */
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
  private unreported = 0;
  private reportAt = Number.NEGATIVE_INFINITY;

  private readonly maxReaderBytes: number;

  constructor(private readonly options: UnreadOptions) {
    this.maxReaderBytes = options.maxReaderBytes ?? MAX_READER_BYTES;
  }

  /** Whether half of the limit is used, so that peers with unread bytes may be reset. */
  get isTight(): boolean {
    return this.used > this.options.maxBytes / 2;
  }

  /** Whether so many bytes are unread, including those of readers, that only a little of each response should be in transit. */
  get isScarce(): boolean {
    return this.spareBytes === 0;
  }

  /** How many more bytes may be unread before `isScarce` becomes true. */
  get spareBytes(): number {
    return Math.max(0, this.options.maxBytes / 2 - this.used - this.exemptBytes);
  }

  /** Called when bytes, or further bytes, wait for a peer. */
  count(entry: UnreadEntry): void {
    if (this.endExemption(entry)) {
      if (this.mayExempt(entry)) return this.exempt(entry);
      this.blocked.add(entry);
    } else if (!this.blocked.has(entry)) this.block(entry);
    this.recount(entry);
    if (this.used > this.options.maxBytes) this.arm();
  }

  private block(entry: UnreadEntry): void {
    const { now } = this.options.clock;
    entry.paidUntil = Math.max(entry.paidUntil, now);
    entry.progressBytes = entry.owner.progressBytes;
    if (entry.firstBlockedAt === Number.POSITIVE_INFINITY) {
      entry.beginProof(now);
      entry.noteStep();
      // The reading of a peer on this machine is known only after a query.
      entry.prove(now);
    } else entry.firstBlockedAt += now - entry.drainedAt;
    this.blocked.add(entry);
  }

  /** Called when the peer has read everything. */
  drained(entry: UnreadEntry): void {
    if (this.blocked.has(entry) || this.readers.has(entry)) {
      entry.noteStep();
      if (!entry.isProvenReader) entry.prove(this.options.clock.now);
    }
    this.free(entry);
  }

  /** Called when the peer has disconnected, or its unread bytes are counted elsewhere. */
  free(entry: UnreadEntry): void {
    if (this.blocked.has(entry) || this.readers.has(entry)) entry.drainedAt = this.options.clock.now;
    this.endExemption(entry);
    if (this.blocked.delete(entry)) this.use(entry, 0);
  }

  /** Called each second, because a peer becomes silent without any event. */
  look(): void {
    if (this.isScarce) this.knownAt = this.options.lookAtPeers();
    let looks = Math.min(MAX_LOOKS, this.readers.size);
    for (const entry of this.readers) {
      if (looks-- === 0) break;
      this.endExemption(entry);
      if (!this.isReading(entry)) entry.stopReading(this.options.clock.now);
      if (entry.isProvenReader && this.mayExempt(entry)) {
        this.exempt(entry);
        continue;
      }
      this.blocked.add(entry);
      this.recount(entry);
    }
    for (const entry of [...this.blocked]) {
      if (this.isReading(entry)) this.keep(entry);
      else if (entry.isProvenReader) entry.stopReading(this.options.clock.now);
    }
    if (this.isTight) this.relieve();
    // Reports the resets since the last report.
    else this.report();
  }

  private recount(entry: UnreadEntry): void {
    this.use(entry, entry.owner.unreadBytes + REST_BYTES);
  }

  private use(entry: UnreadEntry, bytes: number): void {
    this.used += bytes - entry.bytes;
    entry.bytes = bytes;
    if (this.used <= this.options.maxBytes) this.beyondSince = undefined;
    else this.beyondSince ??= this.options.clock.now;
  }

  /** Decides in a later turn of the event loop, because the caller is in the middle of sending. */
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
    for (const entry of [...this.blocked]) if (entry.isProvenReader && this.isReading(entry)) this.keep(entry);
    const { now } = clock;
    let looks = MAX_LOOKS;
    let resets = MAX_RESETS;
    const shortage: Shortage<UnreadEntry> = {
      ...{ now, beyondSince: this.beyondSince ?? now, used: this.usedShare, isKnown: this.isKnown },
      reset: (entry) => {
        if (resets === 0 || (looks-- <= 0 && this.usedShare() <= FAR_BEYOND)) return false;
        const standing = standingOf(entry, now);
        this.isReading(entry);
        const isToEnd = standingOf(entry, now) === standing && givesWay(entry, shortage);
        if (!isToEnd) {
          this.keep(entry);
          return false;
        }
        resets--;
        this.end(entry);
        return true;
      },
    };
    giveWay(this.blocked, shortage);
    if (resets === 0 && this.usedShare() > FAR_BEYOND) this.arm();
    else if (this.used > maxBytes) this.retry();
    this.report();
  }

  private retry(): void {
    this.timer ??= setTimeout(this.onTimer, YOUNG_MS).unref();
  }

  /**
   * Whether it is known how the peer reads. It is if the peer was checked since it was blocked, or if it is so new that its bytes only fill
   * the kernels' buffers.
   */
  private readonly isKnown = ({ firstBlockedAt, paidUntil }: UnreadEntry): boolean =>
    this.options.clock.now - firstBlockedAt < NEW_MS || this.knownAt - paidUntil >= YOUNG_MS;

  private readonly onTimer = (): void => {
    this.timer = undefined;
    if (this.used > this.options.maxBytes) this.relieve();
  };

  /** Called when the peer was seen to read. While memory is scarce, a reader does not count. */
  private keep(entry: UnreadEntry): void {
    if (!this.isTight || !entry.isProvenReader || !this.mayExempt(entry)) return;
    this.blocked.delete(entry);
    this.exempt(entry);
  }

  private mayExempt({ owner }: UnreadEntry): boolean {
    const { unreadBytes } = owner;
    const isLittle = unreadBytes + REST_BYTES <= this.options.maxBytes - this.exemptBytes;
    return unreadBytes <= this.maxReaderBytes && isLittle;
  }

  private exempt(entry: UnreadEntry): void {
    this.use(entry, 0);
    entry.exemptBytes = entry.owner.unreadBytes + REST_BYTES;
    this.exemptBytes += entry.exemptBytes;
    this.readers.add(entry);
  }

  /** Returns false if the peer was not exempt. */
  private endExemption(entry: UnreadEntry): boolean {
    if (!this.readers.delete(entry)) return false;
    this.exemptBytes -= entry.exemptBytes;
    entry.exemptBytes = 0;
    return true;
  }

  /** Whether it has read since the last check, or is a reader that has not stopped. */
  private isReading(entry: UnreadEntry): boolean {
    const { now } = this.options.clock;
    const { progressBytes } = entry.owner;
    if (entry.bytes > 0) this.recount(entry);
    // Even without progress, because the number of bytes that the peer has certainly read becomes known later.
    entry.noteStep();
    this.noteFirstReading(entry);
    const more = progressBytes - entry.progressBytes;
    entry.progressBytes = progressBytes;
    // The progress was corrected downwards; the next check decides.
    if (more < 0) {
      entry.firstProgressBytes = Math.min(entry.firstProgressBytes, progressBytes);
      if (entry.firstReadings < FIRST_READINGS) entry.paidUntil = Math.max(entry.paidUntil, now);
    } else entry.paidUntil = Math.min(now + MAX_PAID_MS, entry.paidUntil + more / SLOWEST_READ);
    const wasReader = entry.isProvenReader;
    // Even without progress, because the peer may have read before it was blocked.
    if (!wasReader) entry.prove(now);
    if (more < 0 || (more > 0 && !wasReader)) return true;
    return entry.isProvenReader && now < entry.paidUntil + this.options.patienceMs + entry.stepMs;
  }

  /** Only a later reading of the kernels' buffers shows how many bytes they had accepted when the peer was first blocked. */
  private noteFirstReading(entry: UnreadEntry): void {
    if (entry.firstReadings === FIRST_READINGS || this.knownAt <= entry.firstReadingAt) return;
    entry.firstReadings++;
    entry.firstReadingAt = this.knownAt;
    entry.firstReadBytes = entry.owner.surelyReadBytes ?? 0;
  }

  private end(entry: UnreadEntry): void {
    this.free(entry);
    this.endedTotal++;
    this.unreported++;
    entry.owner.resetForMemory();
  }

  private report(): void {
    const { clock, onNotice, maxBytes } = this.options;
    if (this.unreported === 0 || clock.now < this.reportAt) return;
    this.reportAt = clock.now + REPORT_EVERY_MS;
    const [count, verb] = this.unreported === 1 ? ["a connection", "was"] : [`${this.unreported} connections`, "were"];
    onNotice(
      `${count} whose peer reads nothing ${verb} reset: unread bytes are near balancer.limits.maxUnreadBytes (${maxBytes})`,
    );
    this.unreported = 0;
  }
}
