/** The bytes of a client that nobody has used yet: almost always one received buffer, joined only when a head comes in pieces. */
import { leaveToCollector } from "@paceline/wire";
import { LF } from "../http1/bytes.js";

const NOTHING = Buffer.alloc(0);

/** A buffer up to this size gets as much again to grow; whoever sends more ahead is soon read no more. */
const MAX_SPARE_BYTES = 131_072;

/** So much that was used may stay with what was not. */
const MAX_UNUSED_BYTES = 16_384;

export class Input {
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;
  /** A head was looked at and found incomplete. */
  isPartial = false;
  /** `bytes` is a buffer of ours, which nobody else has seen. */
  private isOwn = false;
  /** Up to where `bytes` was searched for the end of a line. */
  private searched = 0;

  get length(): number {
    return this.end - this.start;
  }

  push(received: Buffer): void {
    if (this.length === 0) {
      this.bytes = received;
      this.start = 0;
      this.end = received.length;
      this.searched = 0;
      this.isOwn = false;
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
      this.bytes = room;
      this.isOwn = true;
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
    this.bytes = room;
    this.isOwn = true;
    this.start = 0;
    this.end = length;
  }

  clear(): void {
    this.bytes = NOTHING;
    this.start = this.end = this.searched = 0;
    this.isPartial = false;
  }
}
