/** A request body over the lane: buffered until the app reads it, with more window granted as it does. */
import { giveBack } from "@paceline/wire";
import { REQUEST_WINDOW_BYTES } from "@paceline/wire/lane/protocol";

/** Smaller pieces are joined, in bytes, because a few bytes must not keep a whole read in memory. */
const JOIN_BELOW_BYTES = 4096;
const MAX_JOINED_BYTES = 65_536;
/** More is granted after this many bytes were read, because each grant wakes the balancer. */
const GRANT_BYTES = REQUEST_WINDOW_BYTES / 4;
/** The same number while the balancer may wait for the grant. */
const EARLY_GRANT_BYTES = 65_536;
/** The same number if the app waits for data, too. */
const STARVED_GRANT_BYTES = 4096;
/** After this time fewer bytes are granted, because only grants show the balancer that a slow app reads. */
const SLOW_GRANT_MS = 5000;

export class RequestBody {
  private pieces: Uint8Array[] = [];
  /** The joined small pieces at the end of the queue. The first one is not copied; the next ones are added to a growing buffer. */
  private joined: Uint8Array = NOTHING;
  private joinedLength = 0;
  /** Whether everything has arrived. */
  isComplete = false;
  /** The trailers that follow the body, as lines. */
  trailers = "";
  private failure: Error | undefined;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  private isWanted = false;
  private isDropped = false;
  private read = 0;
  /** The number of bytes that were granted again so far. */
  private granted = 0;
  private grantedAt = Number.NEGATIVE_INFINITY;

  /**
   * @param grant lets the other side send this many more bytes
   * @param onWanted called when the app waits for data
   * @param isCrowded returns whether the bodies together have reached the limit above which the balancer sends little of each
   */
  constructor(
    private readonly grant: (bytes: number) => void,
    private readonly onWanted: () => void = () => {},
    private readonly isCrowded: () => boolean = () => false,
  ) {}

  add(bytes: Buffer, start: number, end: number): void {
    if (this.isDropped) return this.consumed(end - start);
    if (end > start) {
      const view = bytes.subarray(start, end);
      if (end - start < JOIN_BELOW_BYTES) this.join(view);
      else {
        this.takeJoined();
        // A small piece must not keep a much larger read in memory.
        this.pieces.push(2 * view.length < bytes.buffer.byteLength ? new Uint8Array(view) : view);
      }
    }
    this.serve();
  }

  private join(view: Uint8Array): void {
    const length = this.joinedLength + view.length;
    if (length > MAX_JOINED_BYTES) {
      this.takeJoined();
      return this.join(view);
    }
    if (length > this.joined.length) {
      const room = new Uint8Array(this.joinedLength === 0 ? length : Math.max(JOIN_BELOW_BYTES, 2 * length));
      room.set(this.joined.subarray(0, this.joinedLength));
      this.joined = room;
    }
    this.joined.set(view, this.joinedLength);
    this.joinedLength = length;
  }

  /** Turns the joined bytes into a piece. */
  private takeJoined(): void {
    if (this.joinedLength === 0) return;
    const { joined, joinedLength } = this;
    this.pieces.push(joinedLength === joined.length ? joined : joined.subarray(0, joinedLength));
    this.dropJoined();
  }

  private dropJoined(): void {
    this.joined = NOTHING;
    this.joinedLength = 0;
  }

  finish(): void {
    this.isComplete = true;
    this.serve();
  }

  /** Fails an incomplete body. */
  fail(error: Error): void {
    if (this.isComplete || this.failure !== undefined) return;
    this.failure = error;
    for (const piece of this.pieces.splice(0)) letGo(piece);
    this.dropJoined();
    this.controller?.error(error);
  }

  /** Returns the whole body if it has arrived and nobody has started to read it. */
  takeWhole(): Uint8Array | undefined {
    if (!this.isComplete || this.controller !== undefined) return undefined;
    this.takeJoined();
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
          if (this.pieces.length === 0 && !this.isComplete) this.onWanted();
          this.serve();
          if (this.mayBeAwaited) this.grantStarved();
        },
        cancel: () => {
          // The rest is received and dropped, so that the response can be sent.
          this.isDropped = true;
          this.takeJoined();
          for (const piece of this.pieces.splice(0)) this.consumed(piece.length);
        },
      },
      // Reads only on demand.
      { highWaterMark: 0 },
    );
  }

  /** Grants the bytes that were read, if the app waits for more. */
  grantStarved(): void {
    if ((this.isWanted || this.isDropped) && this.read >= STARVED_GRANT_BYTES) this.grantRead();
  }

  private serve(): void {
    const { controller } = this;
    if (controller === undefined || this.isDropped || this.failure !== undefined) return;
    if (this.isWanted && this.pieces.length === 0) this.takeJoined();
    if (this.isWanted && this.pieces.length > 0) {
      this.isWanted = false;
      const piece = this.pieces.shift() as Uint8Array;
      controller.enqueue(piece);
      this.consumed(piece.length);
    }
    if (this.isComplete && this.pieces.length === 0 && this.joinedLength === 0) {
      this.isDropped = true;
      controller.close();
    }
  }

  private consumed(bytes: number): void {
    this.read += bytes;
    const { read } = this;
    if (read < STARVED_GRANT_BYTES) return;
    if (read >= GRANT_BYTES || (read >= EARLY_GRANT_BYTES && this.mayBeAwaited) || this.isSlow) this.grantRead();
  }

  /** Whether the balancer may wait for a small grant: at first it sends only as much as the app has read. */
  private get mayBeAwaited(): boolean {
    return this.granted < REQUEST_WINDOW_BYTES || this.isCrowded();
  }

  /** Whether no grant was sent for SLOW_GRANT_MS. Also true for the first piece, so that the balancer soon sees that the app reads. */
  private get isSlow(): boolean {
    return performance.now() - this.grantedAt >= SLOW_GRANT_MS;
  }

  private grantRead(): void {
    if (this.isComplete) return;
    this.grantedAt = performance.now();
    this.granted += this.read;
    this.grant(this.read);
    this.read = 0;
  }
}

/** Frees a dropped piece at once if it owns its buffer. The garbage collector would keep it during other uploads. */
function letGo(piece: Uint8Array): void {
  if (piece.byteLength === piece.buffer.byteLength) giveBack(piece);
}

const NOTHING = new Uint8Array(0);
