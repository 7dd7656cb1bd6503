/** Parses a multipart/form-data body with Dicer (RFC 7578): reads each part before the next one. */
import type { Readable } from "node:stream";
import type { Dicer } from "@fastify/busboy";

/**
 * A refused upload, by `code`; no file of it stays on the disk:
 * - `not-multipart` (415): the Content-Type is not multipart/form-data.
 * - `malformed` (400): no boundary, a part without a name, or no closing boundary.
 * - `too-many-files`, `too-many-fields`, `file-too-large`, `field-too-large`, `header-too-large`, `too-large` (413): a limit.
 * - `too-slow` (408): the deadline has passed.
 * - `aborted` (400): the client left; nobody sees the response.
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

/** Handles one part; an error it throws ends the upload. */
type TakePart = (head: PartHead, pieces: AsyncIterable<Buffer>) => Promise<void>;

/** Header lines per part; browsers send two. */
const MAX_HEADER_LINES = 32;

export class FormParts {
  private readonly dicer: Dicer;
  /** Parts are handled one at a time, in order, because each would hold an open file. */
  private taken: Promise<void> = Promise.resolve();
  private part: Readable | undefined;
  private isHeaderOwed = false;
  private isFinished = false;
  private failure: Error | undefined;
  /** Called when the awaited event has happened, or cannot happen any more. */
  private wake: () => void = () => {};

  private constructor(
    Parser: typeof Dicer,
    boundary: string,
    private readonly maxHeaderBytes: number,
    private readonly take: TakePart,
  ) {
    // Dicer truncates a longer header, which is detected here. The extra room is for bytes that `sizeOfFields` does not count: the end of
    // the boundary line, and one space per line.
    const maxHeaderSize = maxHeaderBytes + 2 + MAX_HEADER_LINES + 1;
    const limits = { maxHeaderSize, maxHeaderPairs: MAX_HEADER_LINES };
    this.dicer = new Parser({ boundary, ...limits } as Dicer.Config);
    this.dicer.on("part", (part) => this.begin(part));
    this.dicer.on("finish", () => {
      this.isFinished = true;
      this.wake();
    });
    // Dicer has only one error: the end came too early.
    this.dicer.on("error", (cause) => this.fail(malformed("the body ends before its closing boundary", cause)));
  }

  /** Creates a parser; loads Dicer with the first upload. */
  static async of(boundary: string, maxHeaderBytes: number, take: TakePart): Promise<FormParts> {
    const { Dicer } = await import("@fastify/busboy");
    return new FormParts(Dicer, boundary, maxHeaderBytes, take);
  }

  /** Resolves when there is room for more. @throws the error of a part */
  async write(bytes: Uint8Array): Promise<void> {
    // Anything after the closing boundary is ignored.
    if (this.isFinished || !this.dicer.writable) return this.check();
    await this.until((done) => this.dicer.write(bytes, () => done()));
  }

  /** Resolves when all parts are handled. @throws UploadError `malformed`, or the error of a part */
  async end(): Promise<void> {
    if (!this.isFinished) await this.until(() => this.dicer.end());
    if (this.isHeaderOwed) throw malformed("a part has no header");
    await this.taken;
    this.check();
  }

  /** Ends the upload with an error from outside; pending calls fail with it. */
  fail(error: Error): void {
    this.failure ??= error;
    this.part?.destroy(this.failure);
    this.wake();
  }

  /** Resolves when no part is being handled. */
  async settled(): Promise<void> {
    await this.taken;
    this.dicer.destroy();
  }

  private begin(part: Readable): void {
    // The parser reports the error of a part, too.
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

/** The header of a part. */
export interface PartHead {
  /** The field's name. */
  name: string;
  /** Undefined for a field that is not a file; empty if no file was chosen. */
  fileName: string | undefined;
  type: string;
}

/** The boundary (RFC 2046 §5.1.1). */
const BOUNDARY = /^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/;
const PARAMETER = /;\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g;

/** Returns the boundary; undefined if the type is not multipart/form-data, null if the boundary is missing or invalid. */
export function boundaryOf(contentType: string | null): string | null | undefined {
  if (contentType === null || !/^\s*multipart\/form-data\s*(?:;|$)/i.test(contentType)) return undefined;
  const boundary = parametersOf(contentType).get("boundary") ?? "";
  return BOUNDARY.test(boundary) ? boundary : null;
}

/** Returns undefined if the part has no name. Each character of its fields is one byte. */
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

/** Returns the minimum size of these fields in the body, in bytes. */
function sizeOfFields(fields: Readonly<Record<string, readonly string[]>>): number {
  let bytes = 0;
  for (const [name, values] of Object.entries(fields)) {
    // A colon and a line end.
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

/** Restores three characters that browsers escape in names (HTML, multipart/form-data encoding algorithm). */
function unescaped(name: string): string {
  return name.replace(/%0A/gi, "\n").replace(/%0D/gi, "\r").replace(/%22/g, '"');
}

/** Decodes `UTF-8''…`, which some programs send, but no browser. */
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
