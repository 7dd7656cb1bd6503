/** A lane's socket that is none: what is written is kept, and the test says how much the kernel takes. */
import type { LaneSocket, LaneSocketOwner } from "../../src/lane/lane-socket.js";

export class FakeLaneSocket implements LaneSocket {
  owner: LaneSocketOwner | undefined;
  isEnded = false;
  /** The kernel takes no more than this many bytes; the rest waits until `drain`. */
  room = Number.POSITIVE_INFINITY;
  private readonly taken: Buffer[] = [];
  private waiting: Buffer = Buffer.alloc(0);

  get isBlocked(): boolean {
    return this.waiting.length > 0;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isEnded) return true;
    this.waiting = Buffer.concat([this.waiting, bytes]);
    return this.move();
  }

  private move(): boolean {
    const size = Math.min(this.waiting.length, this.room);
    this.room -= size;
    this.taken.push(this.waiting.subarray(0, size));
    this.waiting = this.waiting.subarray(size);
    return this.waiting.length === 0;
  }

  /** The kernel has room for so many bytes. */
  drain(room = Number.POSITIVE_INFINITY): void {
    const wasBlocked = this.isBlocked;
    this.room = room;
    if (this.move() && wasBlocked) this.owner?.onDrain();
  }

  /** All that was taken since the last call. */
  take(): Buffer {
    return Buffer.concat(this.taken.splice(0));
  }

  pause(): void {}
  resume(): void {}

  end(): void {
    this.isEnded = true;
  }

  destroy(): void {
    this.isEnded = true;
  }
}
