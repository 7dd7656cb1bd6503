/** A response body from an open file, read directly into the taker's buffer, in blocks of its size. */
import { closeSync, readSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { ServerError } from "../../shared/errors.js";
import type { FileBody } from "./file-body.js";
import { pump } from "./pump.js";
import type { ByteRange } from "./ranges.js";

/** Bytes in memory, or a part of the file. */
export type BodyPart = Uint8Array | ByteRange;

const STREAM_BLOCK_BYTES = 65_536;

/** Closes the descriptors of bodies that nobody read or closed, because an app may drop a Response. */
const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd));

/**
 * Owns the descriptor, and closes it at the end, on `close()` and on failure. Reads synchronously: from the page cache, that is faster than
 * another thread. On a slow disk the process waits.
 */
export class OpenFileBody implements FileBody {
  readonly length: number;
  isTouched = false;
  /** Whether the request's Range is ignored. */
  ignoresRange = false;
  private at = 0;
  private offset = 0;
  private left: number;
  private isClosed = false;

  constructor(
    private readonly fd: number,
    private readonly parts: readonly BodyPart[],
    /** For the error message. */
    private readonly path: string,
  ) {
    this.length = parts.reduce((sum, part) => sum + sizeOf(part), 0);
    this.left = this.length;
  }

  /** Passes the file to a response, whose end may remain unknown. */
  lend(): this {
    forgotten.register(this, this.fd, this);
    return this;
  }

  get remaining(): number {
    return this.left;
  }

  readInto(target: Uint8Array, position: number, size: number): number {
    const part = this.parts[this.at] as BodyPart;
    const wanted = Math.min(size, sizeOf(part) - this.offset);
    if (part instanceof Uint8Array) target.set(part.subarray(this.offset, this.offset + wanted), position);
    else this.readFile(target, position, wanted, part.start + this.offset);
    this.offset += wanted;
    this.left -= wanted;
    if (this.offset === sizeOf(part)) {
      this.at++;
      this.offset = 0;
    }
    if (this.left === 0) this.close();
    return wanted;
  }

  private readFile(target: Uint8Array, position: number, size: number, from: number): void {
    if (this.isClosed) throw new ServerError("file-shrunk", `${this.path} is closed already`);
    for (let done = 0; done < size; ) {
      const read = readSync(this.fd, target, position + done, size - done, from + done);
      if (read === 0) {
        this.close();
        throw new ServerError("file-shrunk", `${this.path} has become shorter while it was sent`);
      }
      done += read;
    }
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    forgotten.unregister(this);
    closeSync(this.fd);
  }

  /** Returns a stream that reads a block on demand. */
  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        pull: (controller) => {
          this.isTouched = true;
          const block = new Uint8Array(Math.min(STREAM_BLOCK_BYTES, this.left));
          controller.enqueue(block.subarray(0, this.readInto(block, 0, block.length)));
          if (this.left === 0) controller.close();
        },
        cancel: () => this.close(),
      },
      { highWaterMark: 0 },
    );
  }

  /**
   * Lets Bun send a single part, with sendfile if the part is large. Bun opens a path while it takes the Response. This path refers to the
   * open file itself, even if its name now belongs to another file. Bun treats an early end of the file as the end of the response. Because
   * of `Connection: close`, the client then notices it.
   */
  onBun(response: Response): Response {
    const [part] = this.parts;
    const isPlain = this.parts.length === 1 && part !== undefined && !(part instanceof Uint8Array);
    // Bun would apply the request's Range itself.
    if (!isPlain || this.ignoresRange || process.platform !== "linux") return response;
    const { status, headers } = response;
    headers.set("connection", "close");
    // Without this field, Bun would send the file name of the path below.
    if (!headers.has("content-disposition")) headers.set("content-disposition", "inline");
    const file = Bun.file(`/proc/self/fd/${this.fd}`).slice(part.start, part.end);
    setImmediate(() => this.close());
    return new Response(file, { status, headers });
  }

  pipe(outgoing: ServerResponse): Promise<void> {
    return pump(this, outgoing);
  }
}

function sizeOf(part: BodyPart): number {
  return part instanceof Uint8Array ? part.length : part.end - part.start;
}
