/** The files of one upload: written under random names, readable by their owner alone, removed again when the upload fails. */
import { randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { UploadError } from "./upload-error.js";

export class UploadFiles {
  private readonly paths = new Set<string>();

  /** @param folder is made when it is missing. */
  constructor(private readonly folder: string) {}

  /**
   * Writes a file as it comes, no faster than the disk takes it.
   *
   * @returns its path and its length in bytes
   * @throws UploadError `disk-failed`, or what the pieces throw
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

  /** Removes all that was written; what the app has moved elsewhere stays there. */
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
