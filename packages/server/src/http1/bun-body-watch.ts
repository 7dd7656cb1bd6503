/**
 * Watches the bodies of requests on Bun.serve: holds them to `bodyTimeoutMs`, as Bun's own timer cuts whoever sends less than
 * 16 KB a second, however steadily, and notices clients that leave while their body is not read.
 */
import { type BodyWait, BodyWaits } from "./body-waits.js";
import { UnreadBodies, type UnreadBody } from "./unread-bodies.js";

/** Of a body that is no larger Bun leaves nothing unread for long. */
export const SMALL_BODY_BYTES = 65_536;

/** Taken of a body that nobody reads, in bytes. */
const MAX_AHEAD_BYTES = 1 << 20;

/** As far as it is used here; the types of Bun and Node differ. */
interface BodyReader {
  read(): Promise<{ done: boolean; value?: Uint8Array }>;
  cancel(reason: unknown): Promise<void>;
}

interface Watches {
  waits: BodyWaits<Request>;
  unread: UnreadBodies;
}

export class BunBodyWatch {
  private readonly watches: Watches;

  /**
   * @param timeoutMs 0: none.
   * @param onLate no piece of its body has come for that long.
   */
  constructor(timeoutMs: number, onLate: (request: Request) => void) {
    this.watches = { waits: new BodyWaits(timeoutMs, onLate), unread: new UnreadBodies() };
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
  private readonly held: WeakRef<UnreadBody>;
  private readonly wait: BodyWait<Request>;
  private reader: BodyReader | undefined;
  /** What was taken before it was asked for, its length in bytes, and its end once that has come. */
  private readonly ahead: Uint8Array[] = [];
  private aheadBytes = 0;
  private isComplete = false;
  private failure: unknown;
  private taking: Promise<void> | undefined;

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

  readAhead(): void {
    if (this.taking !== undefined || this.aheadBytes >= MAX_AHEAD_BYTES) return;
    this.taking = this.take().finally(() => {
      this.taking = undefined;
    });
  }
}
