/** Receives multipart/form-data and streams files to a folder, within limits. */

import { randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { FetchHandler, RequestInfo } from "../../shared/app.js";
import { boundaryOf, FormParts, type PartHead, UploadError } from "./form-parts.js";

export interface UploadLimits {
  /** Default: 10. */
  files: number;
  /** Fields that are not files. Default: 100. */
  fields: number;
  /** Per file, in bytes. Default: 10 MiB. */
  fileBytes: number;
  /** The value of one field, in bytes. Default: 64 KiB. */
  fieldBytes: number;
  /** The header of one part, including names, in bytes. Default: 4 KiB. */
  headerBytes: number;
  /** The whole body, in bytes. Default: 50 MiB; the server's `maxBodyBytes` also applies. */
  totalBytes: number;
}

export interface UploadOptions {
  /** The folder for the files; created with mode 0700 if missing. */
  folder: string;
  limits?: Partial<UploadLimits>;
  /** The deadline of one upload, in milliseconds. Default: 600000. */
  timeoutMs?: number;
}

export interface UploadedFile {
  /** The field's name. */
  field: string;
  /** Its path in the folder, with a random name and mode 0600. */
  path: string;
  bytes: number;
  /** The client's file name. It is only for display: never open it as a path. It may be any text, also an empty one. */
  originalName: string;
  /** The client's media type. */
  type: string;
}

export interface Upload {
  files: UploadedFile[];
  /** Names and values, in order. */
  fields: [name: string, value: string][];
  /** Removes the files that are still in the folder. */
  remove(): Promise<void>;
}

/** A handler that also receives the upload. */
export type UploadHandler = (request: Request, info: RequestInfo, upload: Upload) => Response | Promise<Response>;

const DEFAULT_LIMITS: UploadLimits = {
  files: 10,
  fields: 100,
  fileBytes: 10 << 20,
  fieldBytes: 64 << 10,
  headerBytes: 4 << 10,
  totalBytes: 50 << 20,
};
const DEFAULT_TIMEOUT_MS = 600_000;

/**
 * Wraps a handler and calls it after the whole upload arrived. A refused upload gets the error's status, with its code as text. If the
 * handler throws, the files are removed.
 */
export function upload(options: UploadOptions): (handler: UploadHandler) => FetchHandler {
  return (handler) => async (request, info) => {
    let received: Upload;
    try {
      received = await receiveUpload(request, options);
    } catch (error) {
      // A disk error is the server's fault and belongs in its log.
      if (!(error instanceof UploadError) || error.status >= 500) throw error;
      return new Response(`${error.code}\n`, { status: error.status, headers: { "content-type": "text/plain" } });
    }
    try {
      return await handler(request, info, received);
    } catch (error) {
      await received.remove();
      throw error;
    }
  };
}

/**
 * Reads a request's body to its end.
 *
 * @throws UploadError when it is refused or fails; then no file remains.
 */
export async function receiveUpload(request: Request, options: UploadOptions): Promise<Upload> {
  const boundary = boundaryOf(request.headers.get("content-type"));
  if (boundary === undefined) throw new UploadError("not-multipart", "the body is not multipart/form-data");
  if (boundary === null) throw new UploadError("malformed", "the Content-Type has no boundary");
  return new UploadReceiver(options).receive(request, boundary);
}

class UploadReceiver {
  private readonly limits: UploadLimits;
  private readonly files: UploadFiles;
  private readonly upload: Upload;
  private fileCount = 0;
  private fieldCount = 0;

  constructor(private readonly options: UploadOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.files = new UploadFiles(options.folder);
    this.upload = { files: [], fields: [], remove: () => this.files.remove() };
  }

  async receive(request: Request, boundary: string): Promise<Upload> {
    const parts = await FormParts.of(boundary, this.limits.headerBytes, (head, pieces) => this.take(head, pieces));
    const reader = request.body?.getReader();
    const stop = (error: UploadError) => {
      parts.fail(error);
      void reader?.cancel(error).catch(ignore);
    };
    const gone = () => stop(new UploadError("aborted", "the client has left"));
    const { signal } = request;
    signal.addEventListener("abort", gone);
    const timeoutMs = this.options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const late = () => stop(new UploadError("too-slow", `the upload took longer than ${timeoutMs} ms`));
    const timer = setTimeout(late, timeoutMs);
    try {
      if (reader !== undefined) await this.read(reader, parts);
      await parts.end();
      return this.upload;
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      parts.fail(failure);
      void reader?.cancel(failure).catch(ignore);
      await parts.settled();
      await this.files.remove();
      throw failure;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", gone);
    }
  }

  private async read(reader: BodyReader, parts: FormParts): Promise<void> {
    const { totalBytes } = this.limits;
    let total = 0;
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw new UploadError("aborted", "the body ended early", { cause });
      });
      if (done || value === undefined) return;
      total += value.length;
      if (total > totalBytes) throw new UploadError("too-large", `the upload has more than ${totalBytes} bytes`);
      await parts.write(value);
    }
  }

  private async take(head: PartHead, pieces: AsyncIterable<Buffer>): Promise<void> {
    if (head.fileName === undefined) await this.takeField(head.name, pieces);
    else await this.takeFile(head, head.fileName, pieces);
  }

  private async takeField(name: string, pieces: AsyncIterable<Buffer>): Promise<void> {
    const { fields, fieldBytes } = this.limits;
    if (++this.fieldCount > fields) throw new UploadError("too-many-fields", `there are more than ${fields} fields`);
    const held: Buffer[] = [];
    const error = () => new UploadError("field-too-large", `a field has more than ${fieldBytes} bytes`);
    for await (const piece of within(pieces, fieldBytes, error)) held.push(piece);
    this.upload.fields.push([name, Buffer.concat(held).toString("utf8")]);
  }

  private async takeFile({ name, type }: PartHead, originalName: string, pieces: AsyncIterable<Buffer>): Promise<void> {
    const { files, fileBytes } = this.limits;
    if (++this.fileCount > files) throw new UploadError("too-many-files", `there are more than ${files} files`);
    const error = () => new UploadError("file-too-large", `a file has more than ${fileBytes} bytes`);
    const { path, bytes } = await this.files.write(within(pieces, fileBytes, error));
    // Forms send this if no file was chosen.
    if (originalName === "" && bytes === 0) {
      this.fileCount--;
      await this.files.removeOne(path);
      return;
    }
    this.upload.files.push({ field: name, path, bytes, originalName, type });
  }
}

type BodyReader = { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> };

async function* within(pieces: AsyncIterable<Buffer>, maxBytes: number, error: () => Error): AsyncIterable<Buffer> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > maxBytes) throw error();
    yield piece;
  }
}

function ignore(): void {
  // An error of the cancel is ignored; the first error is reported.
}

/** The files of one upload: random names, readable only by their owner, removed if the upload fails. */
class UploadFiles {
  private readonly paths = new Set<string>();

  /** @param folder created if missing. */
  constructor(private readonly folder: string) {}

  /**
   * Streams a file to the disk, with backpressure.
   *
   * @returns its path and its length in bytes
   * @throws UploadError `disk-failed`, or the error of the pieces
   */
  async write(pieces: AsyncIterable<Buffer>): Promise<{ path: string; bytes: number }> {
    const path = join(this.folder, randomUUID());
    const handle = await onDisk(() => this.create(path));
    let bytes = 0;
    try {
      for await (const piece of pieces) {
        await onDisk(() => handle.writeFile(piece));
        bytes += piece.length;
      }
    } finally {
      await onDisk(() => handle.close());
    }
    return { path, bytes };
  }

  private async create(path: string): Promise<FileHandle> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const handle = await open(path, "wx", 0o600);
    this.paths.add(path);
    return handle;
  }

  async removeOne(path: string): Promise<void> {
    await rm(path, { force: true });
    this.paths.delete(path);
  }

  /** Removes all written files, except those that the app has moved. */
  async remove(): Promise<void> {
    await Promise.all([...this.paths].map((path) => this.removeOne(path)));
  }
}

async function onDisk<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    throw new UploadError("disk-failed", `the upload cannot be written: ${(cause as Error).message}`, { cause });
  }
}
