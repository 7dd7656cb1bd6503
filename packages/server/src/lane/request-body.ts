/** A request's body as it comes over the lane: held until the app reads it, and granted further as it does. */
import { giveBack } from "@paceline/wire";

/** Pieces below this size are joined, so that a few bytes keep no whole read alive and cost no more than they are. */
const JOIN_BELOW_BYTES = 4096;
const MAX_JOINED_BYTES = 65_536;
/** So much must have been read before more is granted, */
const GRANT_BYTES = 65_536;
/** or so much, when the app waits for what has not come: the balancer may wait for that to send it. */
const STARVED_GRANT_BYTES = 4096;
/** or as much after so long: by grants alone the balancer knows that a slow app reads. */
const SLOW_GRANT_MS = 5000;

export class RequestBody {
  private pieces: Uint8Array[] = [];
  /** Small pieces behind those, joined: the first of them as it came, and a buffer with room to grow once there are more. */
  private joined: Uint8Array = NOTHING;
  private joinedLength = 0;
  /** All of it has come. */
  isComplete = false;
  private failure: Error | undefined;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  private isWanted = false;
  private isDropped = false;
  private read = 0;
  private grantedAt = Number.NEGATIVE_INFINITY;

  /**
   * @param grant lets the other side send that many bytes more.
   * @param onWanted is called when the app asks for what has not come.
   */
  constructor(
    private readonly grant: (bytes: number) => void,
    private readonly onWanted: () => void = () => {},
  ) {}

  add(bytes: Buffer, start: number, end: number): void {
    if (this.isDropped) return this.consumed(end - start);
    if (end > start) {
      const view = bytes.subarray(start, end);
      if (end - start < JOIN_BELOW_BYTES) this.join(view);
      else {
        this.takeJoined();
        // A piece of a much larger read would keep all of that.
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

  /** What was joined becomes a piece. */
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

  /** No more comes, though more was owed. */
  fail(error: Error): void {
    if (this.isComplete || this.failure !== undefined) return;
    this.failure = error;
    for (const piece of this.pieces.splice(0)) letGo(piece);
    this.dropJoined();
    this.controller?.error(error);
  }

  /** All of it, if it is there and nobody has begun to read it. */
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
          if (this.isWanted && !this.isDropped && this.read >= STARVED_GRANT_BYTES) this.grantRead();
        },
        cancel: () => {
          // What is left comes and is dropped, so that the response can leave.
          this.isDropped = true;
          this.takeJoined();
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
    if (this.read >= GRANT_BYTES || (this.read >= STARVED_GRANT_BYTES && this.isSlow)) this.grantRead();
  }

  /** Or it is the first piece: what it took of a body is to be known before its next one. */
  private get isSlow(): boolean {
    return performance.now() - this.grantedAt >= SLOW_GRANT_MS;
  }

  private grantRead(): void {
    if (this.isComplete) return;
    this.grantedAt = performance.now();
    this.grant(this.read);
    this.read = 0;
  }
}

/** What nobody has read is not left to the collector, which has it wait while others upload: it is given back where the piece is all there is. */
function letGo(piece: Uint8Array): void {
  if (piece.byteLength === piece.buffer.byteLength) giveBack(piece);
}

const NOTHING = new Uint8Array(0);
