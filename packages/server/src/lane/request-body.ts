/** A request's body as it comes over the lane: held until the app reads it, and granted further as it does. */

/** Pieces below this size are copied, so that a few bytes do not keep a whole read alive. */
const COPY_BELOW_BYTES = 4096;
/** So much must have been read before more is granted. */
const GRANT_BYTES = 65_536;

export class RequestBody {
  private pieces: Uint8Array[] = [];
  /** All of it has come. */
  isComplete = false;
  private failure: Error | undefined;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  private isWanted = false;
  private isDropped = false;
  private read = 0;

  /** @param grant lets the other side send that many bytes more. */
  constructor(private readonly grant: (bytes: number) => void) {}

  add(bytes: Buffer, start: number, end: number): void {
    if (this.isDropped) return this.consumed(end - start);
    if (end > start) {
      const view = bytes.subarray(start, end);
      this.pieces.push(end - start < COPY_BELOW_BYTES ? Uint8Array.from(view) : view);
    }
    this.serve();
  }

  finish(): void {
    this.isComplete = true;
    this.serve();
  }

  /** No more comes, though more was owed. */
  fail(error: Error): void {
    if (this.isComplete || this.failure !== undefined) return;
    this.failure = error;
    this.pieces = [];
    this.controller?.error(error);
  }

  /** All of it, if it is there and nobody has begun to read it. */
  takeWhole(): Uint8Array | undefined {
    if (!this.isComplete || this.controller !== undefined) return undefined;
    const [first] = this.pieces;
    const whole = this.pieces.length > 1 ? Buffer.concat(this.pieces) : (first ?? NOTHING);
    this.pieces = [];
    return whole;
  }

  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.controller = controller;
          if (this.failure !== undefined) controller.error(this.failure);
        },
        pull: () => {
          this.isWanted = true;
          this.serve();
        },
        cancel: () => {
          // What is left comes and is dropped, so that the answer can leave.
          this.isDropped = true;
          for (const piece of this.pieces.splice(0)) this.consumed(piece.length);
        },
      },
      // Nothing is asked for before somebody reads.
      { highWaterMark: 0 },
    );
  }

  private serve(): void {
    const { controller } = this;
    if (controller === undefined || this.isDropped || this.failure !== undefined) return;
    if (this.isWanted && this.pieces.length > 0) {
      this.isWanted = false;
      const piece = this.pieces.shift() as Uint8Array;
      controller.enqueue(piece);
      this.consumed(piece.length);
    }
    if (this.isComplete && this.pieces.length === 0) {
      this.isDropped = true;
      controller.close();
    }
  }

  private consumed(bytes: number): void {
    this.read += bytes;
    if (this.read < GRANT_BYTES || this.isComplete) return;
    this.grant(this.read);
    this.read = 0;
  }
}

const NOTHING = new Uint8Array(0);
