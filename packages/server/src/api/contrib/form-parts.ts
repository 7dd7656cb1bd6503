/** Takes a multipart/form-data body apart with Dicer (RFC 7578): each part is read before the next one comes. */
import type { Readable } from "node:stream";
import type { Dicer } from "@fastify/busboy";

/**
 * An upload that was refused, by `code`; nothing of it is left on the disk:
 * - `not-multipart` (415): the request's Content-Type is not multipart/form-data.
 * - `malformed` (400): no boundary, a part without a name, or a body that ends before its closing boundary.
 * - `too-many-files`, `too-many-fields`, `file-too-large`, `field-too-large`, `header-too-large`, `too-large` (413): a limit.
 * - `too-slow` (408): it took longer than its deadline.
 * - `aborted` (400): the client went; nobody sees the response.
 * - `disk-failed` (500): a file could not be written; `cause` is the system's error.
 */
export class UploadError extends Error {
  override readonly name = "UploadError";
  readonly code: keyof typeof STATUS;
  readonly status: number;

  constructor(code: keyof typeof STATUS, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.status = STATUS[code];
  }
}

const STATUS = {
  "not-multipart": 415,
  malformed: 400,
  "too-many-files": 413,
  "too-many-fields": 413,
  "file-too-large": 413,
  "field-too-large": 413,
  "header-too-large": 413,
  "too-large": 413,
  "too-slow": 408,
  aborted: 400,
  "disk-failed": 500,
} as const;

/** Takes one part; what it throws ends the upload. */
type TakePart = (head: PartHead, pieces: AsyncIterable<Buffer>) => Promise<void>;

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

/** What a part says of itself. */
export interface PartHead {
  /** The field's name. */
  name: string;
  /** Undefined for a field that is no file; empty where no file was chosen. */
  fileName: string | undefined;
  type: string;
}

/** RFC 2046 §5.1.1. */
const BOUNDARY = /^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/;
const PARAMETER = /;\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g;

/** The boundary; undefined when it is not multipart/form-data at all, null when it has none that is good. */
export function boundaryOf(contentType: string | null): string | null | undefined {
  if (contentType === null || !/^\s*multipart\/form-data\s*(?:;|$)/i.test(contentType)) return undefined;
  const boundary = parametersOf(contentType).get("boundary") ?? "";
  return BOUNDARY.test(boundary) ? boundary : null;
}

/** Undefined when the part has no name. Its fields come a character for each byte. */
export function partHead(fields: Readonly<Record<string, readonly string[]>>): PartHead | undefined {
  const disposition = utf8(fields["content-disposition"]?.[0] ?? "");
  if (!/^\s*form-data\s*;/i.test(disposition)) return undefined;
  const parameters = parametersOf(disposition);
  const name = parameters.get("name");
  if (name === undefined) return undefined;
  const fileName = parameters.get("filename") ?? extended(parameters.get("filename*"));
  return {
    name: unescaped(name),
    fileName: fileName === undefined ? undefined : unescaped(fileName),
    type: fields["content-type"]?.[0] ?? (fileName === undefined ? "text/plain" : "application/octet-stream"),
  };
}

/** The least that these fields took in the body, in bytes. */
function sizeOfFields(fields: Readonly<Record<string, readonly string[]>>): number {
  let bytes = 0;
  for (const [name, values] of Object.entries(fields)) {
    // A colon, and the end of the line.
    for (const value of values) bytes += name.length + 1 + value.length + 2;
  }
  return bytes;
}

function parametersOf(value: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const [, name = "", quoted, plain = ""] of value.matchAll(PARAMETER)) {
    const key = name.toLowerCase();
    if (!parameters.has(key)) parameters.set(key, quoted?.replaceAll('\\"', '"') ?? plain);
  }
  return parameters;
}

/** What browsers put in the place of these three in names (HTML, multipart/form-data encoding algorithm). */
function unescaped(name: string): string {
  return name.replace(/%0A/gi, "\n").replace(/%0D/gi, "\r").replace(/%22/g, '"');
}

/** `UTF-8''…`, which no browser sends and some programs do. */
function extended(value: string | undefined): string | undefined {
  const encoded = value === undefined ? undefined : /^utf-8'[^']*'(.*)$/i.exec(value)?.[1];
  if (encoded === undefined) return value;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

function utf8(text: string): string {
  return Buffer.from(text, "latin1").toString("utf8");
}
