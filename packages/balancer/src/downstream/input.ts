/** The unused bytes of a client: usually one received buffer. Pieces are joined only if a head arrives in several. */
import { free, leaveToCollector } from "@paceline/wire";
import type { BufferBudget } from "../exchange/buffer-budget.js";
import type { UnreadBytes } from "../exchange/unread-bytes.js";
import { UnreadEntry, type UnreadOwner } from "../exchange/unread-entry.js";
import { LF } from "../http1/bytes.js";
import type { Connection } from "../transport/transport.js";

const NOTHING = Buffer.alloc(0);

/** Buffers up to this size get spare room to grow; a client that sends more ahead is soon paused. */
const MAX_SPARE_BYTES = 131_072;

/** Buffers of at least this size are freed as soon as they are unused. */
const LARGE_BYTES = 8192;

/** How many used bytes may be kept in memory with the unused ones. */
const MAX_UNUSED_BYTES = 16_384;

/** Reports whether a saved head uses these bytes. */
interface Holder {
  holds(bytes: Uint8Array): boolean;
}

export class Input {
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;
  /** The size of the buffer for incomplete trailers, which counts as input. */
  trailerBytes = 0;
  /** Whether the current head is incomplete. */
  isPartial = false;
  /** Whether `bytes` is a buffer of this object that no other code uses. */
  private isOwn = false;
  /** Whether other code may still use parts of `bytes`. */
  private isLent = false;
  /** A large buffer whose bytes were all consumed and are no longer in use. */
  private spent: Buffer | undefined;
  /** The position up to which `bytes` was searched for a line end. */
  private searched = 0;

  get length(): number {
    return this.end - this.start;
  }

  /** The size of the buffers in use. */
  get heldBytes(): number {
    return (this.length === 0 ? 0 : this.bytes.length) + this.trailerBytes;
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
    // `bytes` may be shared with the current request, so joining uses a separate buffer with room to grow.
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
   * Whether it is worth while to parse the head. After an incomplete attempt it is so only if another line has ended, or if the head is too
   * long. Without this, a head that arrives byte by byte would be expensive.
   */
  mayHoldHead(maxHeadBytes: number): boolean {
    if (!this.isPartial) return true;
    const newline = this.bytes.subarray(0, this.end).indexOf(LF, Math.max(this.searched, this.start));
    this.searched = this.end;
    return newline >= 0 || this.length >= maxHeadBytes;
  }

  /** Marks everything before `position` as used. */
  consume(position: number): void {
    this.start = position;
    this.isPartial = false;
    // Other code may still use the consumed part.
    this.isOwn = false;
    if (this.start === this.end) this.clear();
  }

  /** Copies a small rest out of a large buffer, which would otherwise stay in memory for a while. */
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

  /** Marks the buffer as shared: other code may keep pieces of the body. */
  lend(): void {
    this.isLent = true;
  }

  private spend(): void {
    if (this.bytes.length >= LARGE_BYTES && !this.isLent) this.spent = this.bytes;
  }

  /**
   * Frees a large buffer that was used up, because the garbage collector would free tens of megabytes of such buffers late. Skips
   * `received`, which belongs to the transport. Must not be called while the buffer is being read.
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
    this.start = this.end = this.searched = this.trailerBytes = 0;
    this.isPartial = false;
  }
}

/** How many bytes a client may send ahead before it is paused. */
export const MAX_AHEAD_BYTES = 16_384;
/** Up to this number, bytes that a client has sent ahead are not counted. */
const FREE_AHEAD_BYTES = 4096;

/** The memory held for one client: unread responses and input sent ahead. All clients share the limits. */
export class ClientMemory implements UnreadOwner {
  /** Bytes of the budget for a response that is buffered so that its instance is free earlier. */
  private waitingBytes = 0;
  /** The client's entry in UnreadBytes; set once a response was not read. */
  private aheadBytes = 0;
  /** Its entry in UnreadBytes; set once a response was not read. */
  private place: UnreadEntry | undefined;

  constructor(
    private readonly relay: { readonly budget: BufferBudget; readonly unread: UnreadBytes },
    private readonly connection: Connection,
    private readonly input: Input,
    private readonly client: { resetForMemory(): void },
  ) {}

  /** Whether input sent ahead must be counted again after a read. */
  get isAheadCounted(): boolean {
    return this.aheadBytes > 0 || this.isUnread || this.input.heldBytes > FREE_AHEAD_BYTES;
  }

  get hasAhead(): boolean {
    return this.aheadBytes > 0;
  }

  private get isUnread(): boolean {
    return this.waitingBytes > 0 || (this.place !== undefined && this.connection.waitingBytes > 0);
  }

  /** Counts the bytes sent ahead. Returns false if the budget is exhausted. */
  countAhead(): boolean {
    // A client with unread responses gets no uncounted bytes.
    const ahead = Math.max(0, this.input.heldBytes - (this.isUnread ? 0 : FREE_AHEAD_BYTES));
    const more = ahead - this.aheadBytes;
    if (more > 0 && !this.relay.budget.takeAhead(more)) return false;
    if (more < 0) this.relay.budget.giveAhead(-more);
    this.aheadBytes = ahead;
    return true;
  }

  /** Counts a response that may be buffered within the budget. Returns false if the budget is exhausted. */
  countBuffered(): boolean {
    const more = this.connection.waitingBytes - this.waitingBytes;
    if (more > 0 && !this.relay.budget.take(more)) return false;
    this.waitingBytes += Math.max(0, more);
    if (this.place !== undefined) this.relay.unread.free(this.place);
    return true;
  }

  /** Counts bytes that the client has not read. */
  countUnread(): void {
    if (this.connection.waitingBytes <= this.waitingBytes) return;
    this.place ??= new UnreadEntry(this);
    this.relay.unread.count(this.place);
    // Otherwise the bytes would count until the next response.
    this.connection.asksDrain?.();
  }

  get unreadBytes(): number {
    return Math.max(0, this.connection.heldBytes - this.waitingBytes);
  }

  get progressBytes(): number {
    return this.connection.progressBytes;
  }

  get surelyReadBytes(): number | undefined {
    return this.connection.surelyReadBytes;
  }

  get locallyReadBytes(): number | undefined {
    return this.connection.locallyReadBytes;
  }

  get stepBytes(): number | undefined {
    return this.connection.stepBytes;
  }

  resetForMemory(): void {
    this.client.resetForMemory();
  }

  /** Gives back the memory of responses, because they were read or the client has disconnected. */
  giveBackWaiting(): void {
    if (this.place !== undefined) this.relay.unread.drained(this.place);
    if (this.waitingBytes > 0) this.relay.budget.give(this.waitingBytes);
    this.waitingBytes = 0;
  }
}
