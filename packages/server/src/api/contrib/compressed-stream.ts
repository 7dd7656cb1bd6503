/** Compresses a body block by block: what the source has given leaves as soon as the source pauses. */
import { type BlockSource, toBytes } from "../../shared/blocks.js";
import { isSettledSoon } from "./blocks.js";
import type { Encoder } from "./codings.js";

/** A block goes into the compressor in pieces of this size, so that little of a large one is held twice. */
const PIECE_BYTES = 65_536;

/** @param onFreed is called once, when the compressor's memory is given back. */
export function compressedStream(
  source: BlockSource,
  encoder: Encoder,
  onFreed: () => void,
): ReadableStream<Uint8Array> {
  const body = new CompressedBody(source, encoder, onFreed);
  // Nothing is compressed before somebody reads.
  return new ReadableStream(body, { highWaterMark: 0 });
}

class CompressedBody {
  private state: "idle" | "running" | "ended" = "idle";
  private readonly compressor: ReturnType<Encoder["stream"]>;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Called when the reader, who waits, has got something. */
  private given: (() => void) | undefined;

  constructor(
    private readonly source: BlockSource,
    private readonly encoder: Encoder,
    onFreed: () => void,
  ) {
    this.compressor = encoder.stream();
    this.compressor.on("readable", () => this.give());
    this.compressor.on("end", () => this.finish());
    this.compressor.on("error", (error) => this.fail(error));
    this.compressor.on("close", onFreed);
  }

  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.controller = controller;
  }

  pull(): Promise<void> {
    const given = new Promise<void>((resolve) => {
      this.given = resolve;
    });
    this.give();
    if (this.state === "idle") {
      this.state = "running";
      void this.run();
    }
    return given;
  }

  /** The client has gone. */
  cancel(): void {
    this.source.cancel();
    this.end();
  }

  /** Hands over what the compressor has, when somebody waits for it. */
  private give(): void {
    const { given } = this;
    if (given === undefined || this.hasEnded) return;
    const bytes = this.compressor.read() as Buffer | null;
    if (bytes === null) return;
    this.given = undefined;
    this.controller?.enqueue(bytes);
    given();
  }

  private finish(): void {
    if (this.hasEnded) return;
    this.controller?.close();
    this.end();
  }

  private fail(error: unknown): void {
    if (this.hasEnded) return;
    this.source.cancel();
    this.controller?.error(error);
    this.end();
  }

  private end(): void {
    this.state = "ended";
    this.compressor.destroy();
    this.given?.();
  }

  private get hasEnded(): boolean {
    return this.state === "ended";
  }

  /** Feeds the compressor, which takes no more than its reader makes room for. */
  private async run(): Promise<void> {
    try {
      let isFlushed = true;
      for (;;) {
        const next = this.source.next();
        if (!isFlushed && !(await isSettledSoon(next))) {
          await this.flush();
          isFlushed = true;
        }
        const { done, value } = await next;
        if (this.hasEnded) return;
        if (done) {
          this.compressor.end();
          return;
        }
        await this.write(toBytes(value));
        isFlushed = false;
        if (this.hasEnded) return;
      }
    } catch (error) {
      this.fail(error);
    }
  }

  private async write(block: Uint8Array): Promise<void> {
    for (let at = 0; at < block.length && !this.hasEnded; at += PIECE_BYTES) {
      const piece = block.subarray(at, at + PIECE_BYTES);
      await new Promise<void>((resolve, reject) => {
        this.compressor.write(piece, (error) => (error ? reject(error) : resolve()));
      });
    }
  }

  private flush(): Promise<void> {
    if (this.hasEnded) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.compressor.removeListener("close", done);
        resolve();
      };
      // A compressor that is destroyed forgets whom it has to tell.
      this.compressor.once("close", done);
      this.compressor.flush(this.encoder.flush, done);
    });
  }
}
