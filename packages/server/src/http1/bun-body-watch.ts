/**
 * Watches request bodies on Bun.serve. Enforces `bodyTimeoutMs`, because Bun's own timer disconnects clients that send less than 16 KB a
 * second. Detects clients that leave while their body is not read.
 */
import { giveBack } from "@paceline/wire";
import { type BodyWait, BodyWaits, UnreadBodies, type UnreadBody } from "./body-watch.js";

/** Bun soon reads a body of this size or less completely. */
export const SMALL_BODY_BYTES = 65_536;

/** The maximum number of bytes read ahead, for all unread bodies together. */
const MAX_AHEAD_BYTES = 8 << 20;
/** The maximum number of connections that are identified in one check. */
const MAX_SOUGHT = 64;
/**
 * After a piece smaller than this, in bytes, the next one is read in the next turn. Bun then joins the pieces that have arrived meanwhile.
 */
const TINY_PIECE_BYTES = 512;
/** The maximum number of bytes of an unread body that Bun may hold and deliver in one piece. */
const LARGE_PIECE_BYTES = 1 << 20;

/** Only the members used here; Bun's and Node's types differ. */
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
   * @param timeoutMs 0: none
   * @param onLate called when no piece of the body arrived within the timeout
   */
  constructor(timeoutMs: number, onLate: (request: Request) => void) {
    this.watches = { waits: new BodyWaits(timeoutMs, onLate), unread: new UnreadBodies(endLeft) };
  }

  /**
   * Returns the same request with a watched body.
   * @param original the request that Bun knows
   */
  watch(request: Request, original: Request): Request {
    if (request.body === null) return request;
    const body = new WatchedBody(request.body, original, this.watches);
    const stream = new ReadableStream<Uint8Array>(body, { highWaterMark: 0 });
    return new Request(request, { body: stream, duplex: "half" } as RequestInit);
  }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

class WatchedBody implements UnreadBody {
  unreadSince = performance.now();
  private readonly held: WeakRef<WatchedBody>;
  private readonly wait: BodyWait<Request>;
  private reader: BodyReader | undefined;
  /** Pieces read ahead, their length in bytes, and the end once it has arrived. */
  private readonly ahead: Uint8Array[] = [];
  aheadBytes = 0;
  private isComplete = false;
  private failure: unknown;
  private taking: Promise<void> | undefined;
  private isDropped = false;
  private wasTiny = false;
  /** The descriptor of the connection, once known. */
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

  /**
   * Reads one piece. Bun parses a whole read of the socket at once, and would resolve a pending `read()` for each chunk in it: a
   * client that sends chunks of one byte could block all others for seconds.
   */
  private async take(): Promise<void> {
    try {
      if (this.wasTiny) await nextTurn();
      this.reader ??= this.body.getReader() as BodyReader;
      const { done, value } = await this.reader.read();
      if (done || value === undefined) return this.end();
      this.wasTiny = value.length < TINY_PIECE_BYTES;
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

  /** Reads one piece ahead of the app. */
  readAhead(): void {
    if (this.taking !== undefined || this.isComplete) return;
    this.taking = this.take().finally(() => {
      this.taking = undefined;
    });
  }

  /** Called when the client has left. Discards its data, after which Bun reports the end. */
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
 * Ends the bodies whose clients have left. Bun.serve does not expose a request's descriptor. But when a piece is taken, the kernel shows
 * which descriptor is read again. Takes such pieces while there is room, at most one per body. The other bodies follow when one of these
 * ends or is read.
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
