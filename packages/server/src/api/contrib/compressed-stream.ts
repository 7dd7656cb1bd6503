/** Compresses a body in blocks and flushes whenever the source pauses. */
import { type BlockSource, toBytes } from "../../shared/blocks.js";
import { isSettledSoon } from "./blocks.js";
import type { Encoder } from "./codings.js";

/** Large blocks are compressed in pieces of this size, so that only little of a block is in memory twice. In bytes. */
const PIECE_BYTES = 65_536;

/** @param onFreed called once, when the compressor's memory is released */
export function compressedStream(
  source: BlockSource,
  encoder: Encoder,
  onFreed: () => void,
): ReadableStream<Uint8Array> {
  const body = new CompressedBody(source, encoder, onFreed);
  // Compresses only on demand.
  return new ReadableStream(body, { highWaterMark: 0 });
}

class CompressedBody {
  private state: "idle" | "running" | "ended" = "idle";
  private readonly compressor: ReturnType<Encoder["stream"]>;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Wakes the waiting reader. */
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

  /** Called when the client has left. */
  cancel(): void {
    this.source.cancel();
    this.end();
  }

  /** Passes the compressor's output to a waiting reader. */
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

  /** Feeds the compressor as fast as its reader allows. */
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
      // A destroyed compressor does not call this callback.
      this.compressor.once("close", done);
      this.compressor.flush(this.encoder.flush, done);
    });
  }
}
