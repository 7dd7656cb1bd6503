/** The bytes of a client that nobody has used yet: almost always one received buffer, joined only when a head comes in pieces. */
import { leaveToCollector } from "@paceline/wire";
import type { BufferBudget } from "../exchange/buffer-budget.js";
import { LF } from "../http1/bytes.js";
import { free } from "../transport/buffers.js";
import type { Connection } from "../transport/transport.js";

const NOTHING = Buffer.alloc(0);

/** A buffer up to this size gets as much again to grow; whoever sends more ahead is soon read no more. */
const MAX_SPARE_BYTES = 131_072;

/** From this size on a buffer's memory is given back as soon as nobody needs it. */
const LARGE_BYTES = 8192;

/** So much that was used may stay with what was not. */
const MAX_UNUSED_BYTES = 16_384;

/** Who may keep a head in what was used. */
interface Holder {
  holds(bytes: Uint8Array): boolean;
}

export class Input {
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;
  /** A head was looked at and found incomplete. */
  isPartial = false;
  /** `bytes` is a buffer of ours, which nobody else has seen. */
  private isOwn = false;
  /** Parts of `bytes` went to others, who may have them yet. */
  private isLent = false;
  /** A large buffer that was used up and of which nothing was lent. */
  private spent: Buffer | undefined;
  /** Up to where `bytes` was searched for the end of a line. */
  private searched = 0;

  get length(): number {
    return this.end - this.start;
  }

  /** The memory that it holds. */
  get heldBytes(): number {
    return this.length === 0 ? 0 : this.bytes.length;
  }

  push(received: Buffer): void {
    if (this.length === 0) {
      this.bytes = received;
      this.start = 0;
      this.end = received.length;
      this.searched = 0;
      this.isOwn = this.isLent = false;
      return;
    }
    // `bytes` may be shared with a request that is under way, so what joins goes to a buffer of its own, with room to grow.
    const length = this.length;
    if (!this.isOwn || this.end + received.length > this.bytes.length) {
      const needed = length + received.length;
      const room = Buffer.allocUnsafe(needed > MAX_SPARE_BYTES ? needed : Math.max(1024, 2 * needed));
      this.bytes.copy(room, 0, this.start, this.end);
      leaveToCollector(room.length);
      this.searched -= this.start;
      this.replace(room);
      this.start = 0;
      this.end = length;
    }
    received.copy(this.bytes, this.end);
    this.end += received.length;
  }

  /**
   * Whether a look at the head is worth it: a head that was incomplete is read again only once another line has ended,
   * or it is too long, so that one that comes byte by byte costs no more than one that comes at once.
   */
  mayHoldHead(maxHeadBytes: number): boolean {
    if (!this.isPartial) return true;
    const newline = this.bytes.subarray(0, this.end).indexOf(LF, Math.max(this.searched, this.start));
    this.searched = this.end;
    return newline >= 0 || this.length >= maxHeadBytes;
  }

  /** Everything before that position has been used. */
  consume(position: number): void {
    this.start = position;
    this.isPartial = false;
    // What was used may have been kept.
    this.isOwn = false;
    if (this.start === this.end) this.clear();
  }

  /** What is left will lie here for a while: of a large read that is nearly used up it keeps that alone. */
  compact(): void {
    const { length } = this;
    if (this.bytes.length <= MAX_UNUSED_BYTES + 2 * length) return;
    const room = Buffer.allocUnsafeSlow(length);
    this.bytes.copy(room, 0, this.start, this.end);
    this.searched = Math.max(0, this.searched - this.start);
    this.replace(room);
    this.start = 0;
    this.end = length;
  }

  private replace(room: Buffer): void {
    this.spend();
    this.bytes = room;
    this.isOwn = true;
    this.isLent = false;
  }

  /** A body is read from it: others may keep pieces. */
  lend(): void {
    this.isLent = true;
  }

  private spend(): void {
    if (this.bytes.length >= LARGE_BYTES && !this.isLent) this.spent = this.bytes;
  }

  /**
   * Gives back a large buffer that was used up: it has grown old here, and a collector frees tens of megabytes of them late. Not `received`,
   * which is the transport's. Nobody may be reading when this is called.
   */
  freeSpent(holder: Holder, received?: Buffer): void {
    const { spent } = this;
    if (spent === undefined) return;
    this.spent = undefined;
    if (spent !== received && !holder.holds(spent)) free(spent);
  }

  clear(): void {
    this.spend();
    this.bytes = NOTHING;
    this.start = this.end = this.searched = 0;
    this.isPartial = false;
  }
}

/** What a client may send ahead of its response before it is read no more, in bytes. Reads come whole: up to this it is not counted. */
export const MAX_AHEAD_BYTES = 16_384;

/** What is held in memory for one client: what it has not read, and what it sent ahead. All clients together have a bound. */
export class ClientMemory {
  /** Counted in the budget for what waits for the client. */
  private waitingBytes = 0;
  /** The same for what it sent ahead. */
  private aheadBytes = 0;

  constructor(
    private readonly budget: BufferBudget,
    private readonly connection: Connection,
    private readonly input: Input,
  ) {}

  /** Whether what it sent ahead is to be counted anew after a read. */
  get isAheadCounted(): boolean {
    return this.aheadBytes > 0 || this.waitingBytes > 0 || this.input.heldBytes > MAX_AHEAD_BYTES;
  }

  get hasAhead(): boolean {
    return this.aheadBytes > 0;
  }

  /** False: there is not so much left. */
  countAhead(): boolean {
    // Whoever does not read either has nothing free.
    const ahead = Math.max(0, this.input.heldBytes - (this.waitingBytes > 0 ? 0 : MAX_AHEAD_BYTES));
    const more = ahead - this.aheadBytes;
    if (more > 0 && !this.budget.take(more)) return false;
    if (more < 0) this.budget.give(-more);
    this.aheadBytes = ahead;
    return true;
  }

  /** False: there is not so much left. */
  countWaiting(): boolean {
    const more = this.connection.waitingBytes - this.waitingBytes;
    if (more > 0 && !this.budget.take(more)) return false;
    this.waitingBytes += Math.max(0, more);
    return true;
  }

  /** The client has read what waited. */
  giveBackWaiting(): void {
    if (this.waitingBytes > 0) this.budget.give(this.waitingBytes);
    this.waitingBytes = 0;
  }
}
