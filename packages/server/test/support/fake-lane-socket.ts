/** A lane socket without a kernel: it keeps the written bytes, and the test decides how many the kernel accepts. */
import type { StreamSocket, StreamSocketOwner } from "@paceline/wire";

/** The header of the BUSY frame. */
const BUSY = Buffer.from("0400000c00000000", "hex");

export class FakeLaneSocket implements StreamSocket {
  owner: StreamSocketOwner | undefined;
  isEnded = false;
  /** The kernel accepts only this many bytes; the rest waits until `drain`. */
  room = Number.POSITIVE_INFINITY;
  private readonly taken: Buffer[] = [];
  /** Not copied, so later changes by the caller are sent. */
  private waiting: Uint8Array[] = [];

  get isBlocked(): boolean {
    return this.waiting.length > 0;
  }

  get waitingBytes(): number {
    return this.waiting.reduce((sum, { length }) => sum + length, 0);
  }

  write(bytes: Uint8Array): boolean {
    if (this.isEnded) return true;
    if (bytes.length > 0) this.waiting.push(bytes);
    this.move();
    return !this.isBlocked;
  }

  private move(): void {
    while (this.room > 0 && this.waiting.length > 0) {
      const first = this.waiting.shift() as Uint8Array;
      const size = Math.min(first.length, this.room);
      this.room -= size;
      this.taken.push(Buffer.from(first.subarray(0, size)));
      if (size < first.length) this.waiting.unshift(first.subarray(size));
    }
  }

  /** Makes room for this many bytes in the kernel. */
  drain(room = Number.POSITIVE_INFINITY): void {
    const wasBlocked = this.isBlocked;
    this.room = room;
    this.move();
    if (wasBlocked && !this.isBlocked) this.owner?.onDrain();
  }

  /** Returns all bytes that the kernel accepted since the last call. */
  take(): Buffer {
    return Buffer.concat(this.taken.splice(0));
  }

  /** Returns the same bytes as complete frames, without BUSY, which depends on the speed of the machine. */
  takeWithoutBusy(): Buffer {
    let bytes = this.take();
    for (let at = bytes.indexOf(BUSY); at >= 0; at = bytes.indexOf(BUSY)) {
      bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + BUSY.length + 4)]);
    }
    return bytes;
  }

  pause(): void {}
  resume(): void {}
  keepAlive(): void {}

  end(): void {
    this.isEnded = true;
  }

  destroy(): void {
    this.isEnded = true;
  }
}
