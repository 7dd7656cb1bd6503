/** The part of a request's body that is held so that the request can be sent again elsewhere. */
export class ReplayBuffer {
  pieces: Uint8Array[] = [];
  /** Whether all that the client sent of the body is here. */
  isWhole = true;
  private bytes = 0;

  constructor(private readonly maxBytes: number) {}

  /** Keeps a piece that was sent as well; past the bound nothing is kept and the request cannot be sent again. */
  add(bytes: Uint8Array, start: number, end: number): void {
    if (!this.isWhole) return;
    if (this.bytes + end - start > this.maxBytes) {
      this.clear();
      this.isWhole = false;
      return;
    }
    this.hold(bytes, start, end);
  }

  /** Keeps a piece that could not be sent yet, whatever the bound; the client is paused then. */
  hold(bytes: Uint8Array, start: number, end: number): void {
    this.bytes += end - start;
    this.pieces.push(bytes.subarray(start, end));
  }

  /** What was held has been sent: past the bound it is forgotten. */
  trim(): void {
    if (this.bytes <= this.maxBytes) return;
    this.clear();
    this.isWhole = false;
  }

  clear(): void {
    if (this.pieces.length > 0) this.pieces = [];
    this.bytes = 0;
    this.isWhole = true;
  }
}
