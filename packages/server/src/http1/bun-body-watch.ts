/**
 * Watches the bodies of requests on Bun.serve: holds them to `bodyTimeoutMs`, as Bun's own timer cuts whoever sends less than
 * 16 KB a second, however steadily, and notices clients that leave while their body is not read.
 */
import { giveBack } from "@paceline/wire";
import { type BodyWait, BodyWaits, UnreadBodies, type UnreadBody } from "./body-watch.js";

/** Of a body that is no larger Bun leaves nothing unread for long. */
export const SMALL_BODY_BYTES = 65_536;

/** Taken of bodies that nobody reads, of all together, in bytes. */
const MAX_AHEAD_BYTES = 8 << 20;
/** So many connections are told apart in one look. */
const MAX_SOUGHT = 64;
/** What Bun may have of a body that it does not read, and gives in one piece, in bytes. */
const LARGE_PIECE_BYTES = 1 << 20;

/** As far as it is used here; the types of Bun and Node differ. */
interface BodyReader {
  read(): Promise<{ done: boolean; value?: Uint8Array }>;
  cancel(reason: unknown): Promise<void>;
}

interface Watches {
  waits: BodyWaits<Request>;
  unread: UnreadBodies<WatchedBody>;
}

export class BunBodyWatch {
  private readonly watches: Watches;

  /**
   * @param timeoutMs 0: none.
   * @param onLate no piece of its body has come for that long.
   */
  constructor(timeoutMs: number, onLate: (request: Request) => void) {
    this.watches = { waits: new BodyWaits(timeoutMs, onLate), unread: new UnreadBodies(endLeft) };
  }

  /**
   * The same request with a body that is watched.
   *
   * @param original what Bun knows it by.
   */
  watch(request: Request, original: Request): Request {
    if (request.body === null) return request;
    const body = new WatchedBody(request.body, original, this.watches);
    const stream = new ReadableStream<Uint8Array>(body, { highWaterMark: 0 });
    return new Request(request, { body: stream, duplex: "half" } as RequestInit);
  }
}

class WatchedBody implements UnreadBody {
  unreadSince = performance.now();
  private readonly held: WeakRef<WatchedBody>;
  private readonly wait: BodyWait<Request>;
  private reader: BodyReader | undefined;
  /** What was taken before it was asked for, its length in bytes, and its end once that has come. */
  private readonly ahead: Uint8Array[] = [];
  aheadBytes = 0;
  private isComplete = false;
  private failure: unknown;
  private taking: Promise<void> | undefined;
  private isDropped = false;
  /** Once it is known. */
  descriptor: number | undefined;

  constructor(
    private readonly body: ReadableStream<Uint8Array>,
    original: Request,
    private readonly watches: Watches,
  ) {
    this.wait = { owner: original, since: 0 };
    this.held = watches.unread.add(this);
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    const { waits } = this.watches;
    this.unreadSince = Number.POSITIVE_INFINITY;
    if (this.ahead.length === 0 && !this.isComplete) {
      if (waits.timeoutMs > 0) waits.begin(this.wait);
      await (this.taking ?? this.take());
      waits.end(this.wait);
    }
    this.unreadSince = performance.now();
    const piece = this.ahead.shift();
    if (piece !== undefined) {
      this.aheadBytes -= piece.length;
      return controller.enqueue(piece);
    }
    if (this.failure !== undefined) throw this.failure;
    controller.close();
  }

  cancel(reason: unknown): Promise<void> | undefined {
    this.end();
    return this.reader?.cancel(reason);
  }

  /** Takes one piece. */
  private async take(): Promise<void> {
    try {
      this.reader ??= this.body.getReader() as BodyReader;
      const { done, value } = await this.reader.read();
      if (done || value === undefined) return this.end();
      this.ahead.push(value);
      this.aheadBytes += value.length;
    } catch (error) {
      this.failure = error;
      this.end();
    }
  }

  private end(): void {
    this.isComplete = true;
    this.watches.waits.end(this.wait);
    this.watches.unread.delete(this.held);
  }

  /** Takes a piece more than was asked for. */
  readAhead(): void {
    if (this.taking !== undefined || this.isComplete) return;
    this.taking = this.take().finally(() => {
      this.taking = undefined;
    });
  }

  /** Its client has left: what it sent is nobody's, and Bun tells of the end behind it. */
  async drop(): Promise<void> {
    if (this.isDropped) return;
    this.isDropped = true;
    while (!this.isComplete) {
      await (this.taking ?? this.take());
      for (const piece of this.ahead.splice(0)) giveBack(piece);
      this.aheadBytes = 0;
    }
    this.failure ??= new DOMException("The client has left", "AbortError");
  }
}

/**
 * Bun.serve tells no request's descriptor, but the kernel shows which one is read again when a piece is taken. Bodies whose clients stay
 * are taken so as far as there is room, and never twice; the others have their turn when one of these has ended or is read.
 */
async function endLeft(unread: WatchedBody[], isUnread: (body: WatchedBody) => boolean): Promise<void> {
  const { whoLeft } = await import("./bun-descriptors.js");
  const left = new Set(whoLeft());
  if (left.size === 0) return;
  const { readDescriptors } = await import("./bun-descriptors.js");
  let room = MAX_AHEAD_BYTES - unread.reduce((sum, { aheadBytes }) => sum + aheadBytes, 0);
  let sought = MAX_SOUGHT;
  for (const body of unread) {
    if (!isUnread(body)) continue;
    if (body.descriptor === undefined) {
      if (room < LARGE_PIECE_BYTES || --sought < 0) continue;
      const before = readDescriptors();
      body.readAhead();
      body.descriptor = [...readDescriptors()].find((descriptor) => !before.has(descriptor));
    }
    if (body.descriptor !== undefined && left.has(body.descriptor)) void body.drop();
    else room -= LARGE_PIECE_BYTES;
  }
}
