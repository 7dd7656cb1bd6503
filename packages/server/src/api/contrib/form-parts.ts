/** Takes a multipart/form-data body apart with Dicer: each part is read before the next one comes. */

import type { Readable } from "node:stream";
import type { Dicer } from "@fastify/busboy";
import { type PartHead, partHead, sizeOfFields } from "./form-header.js";
import { UploadError } from "./upload-error.js";

/** Takes one part; what it throws ends the upload. */
export type TakePart = (head: PartHead, pieces: AsyncIterable<Buffer>) => Promise<void>;

/** Lines in the header of one part; browsers send two. */
const MAX_HEADER_LINES = 32;

export class FormParts {
  private readonly dicer: Dicer;
  /** One part is taken at a time, in order: with more at once each would hold a file open. */
  private taken: Promise<void> = Promise.resolve();
  private part: Readable | undefined;
  private isHeaderOwed = false;
  private isFinished = false;
  private failure: Error | undefined;
  /** Called when what is waited for has come, or will not. */
  private wake: () => void = () => {};

  private constructor(
    Parser: typeof Dicer,
    boundary: string,
    private readonly maxHeaderBytes: number,
    private readonly take: TakePart,
  ) {
    // What is longer is cut there, and is seen to be too long: the room is for what `sizeOfFields` does not see, the end of the
    // boundary's line and a space in each line.
    const maxHeaderSize = maxHeaderBytes + 2 + MAX_HEADER_LINES + 1;
    const limits = { maxHeaderSize, maxHeaderPairs: MAX_HEADER_LINES };
    this.dicer = new Parser({ boundary, ...limits } as Dicer.Config);
    this.dicer.on("part", (part) => this.begin(part));
    this.dicer.on("finish", () => {
      this.isFinished = true;
      this.wake();
    });
    // It has one word for all that can be wrong: the end came too soon.
    this.dicer.on("error", (cause) => this.fail(malformed("the body ends before its closing boundary", cause)));
  }

  /** The parser is loaded with the first upload. */
  static async of(boundary: string, maxHeaderBytes: number, take: TakePart): Promise<FormParts> {
    const { Dicer } = await import("@fastify/busboy");
    return new FormParts(Dicer, boundary, maxHeaderBytes, take);
  }

  /** Resolves when there is room for more. @throws the failure of a part */
  async write(bytes: Uint8Array): Promise<void> {
    // What follows the closing boundary is of no interest.
    if (this.isFinished || !this.dicer.writable) return this.check();
    await this.until((done) => this.dicer.write(bytes, () => done()));
  }

  /** Resolves when all parts have been taken. @throws UploadError `malformed`, or the failure of a part */
  async end(): Promise<void> {
    if (!this.isFinished) await this.until(() => this.dicer.end());
    if (this.isHeaderOwed) throw malformed("a part has no header");
    await this.taken;
    this.check();
  }

  /** Ends it from outside: nothing more is taken, and who waits is told. */
  fail(error: Error): void {
    this.failure ??= error;
    this.part?.destroy(this.failure);
    this.wake();
  }

  /** Resolves when nobody works on a part any more. */
  async settled(): Promise<void> {
    await this.taken;
    this.dicer.destroy();
  }

  private begin(part: Readable): void {
    // Its failure is the parser's too.
    part.on("error", () => {});
    if (this.isHeaderOwed) return this.fail(malformed("a part has no header"));
    this.isHeaderOwed = true;
    part.on("header", (fields: Record<string, string[]>) => {
      this.isHeaderOwed = false;
      if (this.failure === undefined) this.header(part, fields);
    });
  }

  private header(part: Readable, fields: Record<string, string[]>): void {
    if (sizeOfFields(fields) > this.maxHeaderBytes) {
      return this.fail(
        new UploadError("header-too-large", `a part's header has more than ${this.maxHeaderBytes} bytes`),
      );
    }
    const head = partHead(fields);
    if (head === undefined) return this.fail(malformed("a part has no name"));
    this.part = part;
    this.taken = this.taken
      .then(() => (this.failure === undefined ? this.take(head, part as AsyncIterable<Buffer>) : undefined))
      .catch((error) => this.fail(error));
  }

  private async until(start: (done: () => void) => void): Promise<void> {
    this.check();
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      start(resolve);
    });
    this.check();
  }

  private check(): void {
    if (this.failure !== undefined) throw this.failure;
  }
}

function malformed(message: string, cause?: unknown): UploadError {
  return new UploadError("malformed", message, { cause });
}
