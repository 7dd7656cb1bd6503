/** The files of objects: written whole or not at all, under random names that never change. */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, type FileHandle, link, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Segment } from "./metadata.ts";

/** This much is gathered before a write, and read at once. */
const BLOCK_BYTES = 256 * 1024;
/** This much is written before it is sent to the disk, so that the last sync is short and the page cache stays free. */
const FLUSH_BYTES = 64 << 20;
const FOLDERS = 256;

export interface ReceivedFile {
  file: string;
  size: number;
}

export class Files {
  private readonly objects: string;
  private readonly temporary: string;

  constructor(folder: string) {
    this.objects = join(folder, "objects");
    this.temporary = join(folder, "temporary");
  }

  async prepare(): Promise<void> {
    await mkdir(this.temporary, { recursive: true, mode: 0o700 });
    for (let at = 0; at < FOLDERS; at++) {
      await mkdir(join(this.objects, at.toString(16).padStart(2, "0")), { recursive: true, mode: 0o700 });
    }
  }

  /** Relative to the folder of objects. */
  pathOf(file: string): string {
    return `${file.slice(0, 2)}/${file}`;
  }

  private fullPath(file: string): string {
    return join(this.objects, this.pathOf(file));
  }

  /**
   * Writes a body into a new file. When it resolves, the file and its name are on the disk; when it rejects, there is none.
   *
   * @param check runs after the last piece, and rejects an invalid body.
   */
  async receive(body: AsyncIterable<Uint8Array>, check: (size: number) => void): Promise<ReceivedFile> {
    const file = randomUUID().replaceAll("-", "");
    const path = join(this.temporary, file);
    const handle = await open(path, "wx", 0o600);
    try {
      const size = await writeAll(handle, body);
      check(size);
      await handle.sync();
      await handle.close();
      await rename(path, this.fullPath(file));
      await this.syncFolder(file);
      return { file, size };
    } catch (error) {
      await handle.close().catch(ignore);
      await unlink(path).catch(ignore);
      throw error;
    }
  }

  private async syncFolder(file: string): Promise<void> {
    const folder = await open(join(this.objects, file.slice(0, 2)), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  /** Makes a hard link to each file, so that a copy takes no space; returns the segments with the new names. */
  async link(segments: Segment[]): Promise<Segment[]> {
    const copies: Segment[] = [];
    try {
      for (const segment of segments) {
        const file = randomUUID().replaceAll("-", "");
        await link(this.fullPath(segment.file), this.fullPath(file)).catch((error: NodeJS.ErrnoException) => {
          // A file has 65,000 names at most on ext4.
          if (error.code !== "EMLINK") throw error;
          return copyFile(this.fullPath(segment.file), this.fullPath(file), constants.COPYFILE_FICLONE);
        });
        copies.push({ ...segment, file });
      }
      for (const folder of new Set(copies.map(({ file }) => file.slice(0, 2)))) await this.syncFolder(folder);
      return copies;
    } catch (error) {
      await this.remove(copies.map(({ file }) => file));
      throw error;
    }
  }

  async remove(files: string[]): Promise<void> {
    for (const file of files) await unlink(this.fullPath(file)).catch(ignoreMissing);
  }

  /** Yields a part of the segments' bytes, from one file after the other. */
  async *read(segments: Segment[], start: number, end: number): AsyncGenerator<Uint8Array> {
    for (const { file, start: from, size } of slice(segments, start, end)) {
      const handle = await open(this.fullPath(file), "r");
      try {
        for (let at = from; at < from + size; ) {
          const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, from + size - at));
          const { bytesRead } = await handle.read(block, 0, block.length, at);
          if (bytesRead === 0) throw new Error(`${file} is shorter than its object`);
          at += bytesRead;
          yield block.subarray(0, bytesRead);
        }
      } finally {
        await handle.close();
      }
    }
  }

  /** Removes temporary files that nobody has written to for a while: their instance was killed. */
  async sweepTemporary(before: number): Promise<number> {
    let removed = 0;
    for (const name of await readdir(this.temporary)) {
      const path = join(this.temporary, name);
      const info = await stat(path).catch(ignoreMissing);
      if (info === undefined || info.mtimeMs >= before) continue;
      await unlink(path).catch(ignoreMissing);
      removed++;
    }
    return removed;
  }

  /** Yields the older files of each folder. */
  async *older(before: number): AsyncGenerator<string[]> {
    for (let at = 0; at < FOLDERS; at++) {
      const folder = join(this.objects, at.toString(16).padStart(2, "0"));
      const found: string[] = [];
      for (const name of await readdir(folder)) {
        const info = await stat(join(folder, name)).catch(ignoreMissing);
        // The time of the last rename or link.
        if (info !== undefined && info.ctimeMs < before) found.push(name);
      }
      for (let first = 0; first < found.length; first += 500) yield found.slice(first, first + 500);
    }
  }
}

/** Returns the parts of segments that hold the bytes from `start` to `end`. */
export function slice(segments: Segment[], start: number, end: number): Segment[] {
  const found: Segment[] = [];
  let at = 0;
  for (const segment of segments) {
    const from = Math.max(start - at, 0);
    const to = Math.min(end - at, segment.size);
    if (from < to) {
      const isSlice = segment.isSlice || to - from < segment.size;
      found.push({ file: segment.file, start: segment.start + from, size: to - from, ...(isSlice && { isSlice }) });
    }
    at += segment.size;
  }
  return found;
}

/** Writes while the next pieces come, but never has more than two blocks in memory. */
async function writeAll(handle: FileHandle, body: AsyncIterable<Uint8Array>): Promise<number> {
  let size = 0;
  let unflushed = 0;
  let gathered: Uint8Array[] = [];
  let bytes = 0;
  let writing: Promise<unknown> = Promise.resolve();
  const write = async (pieces: Uint8Array[], length: number): Promise<void> => {
    let { bytesWritten } = await handle.writev(pieces, size);
    // A kernel may take less, as at the end of a disk.
    if (bytesWritten < length) {
      const rest = Buffer.concat(pieces);
      while (bytesWritten < length) {
        bytesWritten += (await handle.write(rest, bytesWritten, length - bytesWritten, size + bytesWritten))
          .bytesWritten;
      }
    }
    size += length;
    unflushed += length;
    if (unflushed < FLUSH_BYTES) return;
    unflushed = 0;
    await handle.datasync();
  };
  try {
    for await (const piece of body) {
      gathered.push(piece);
      bytes += piece.length;
      if (bytes < BLOCK_BYTES) continue;
      await writing;
      writing = write(gathered, bytes);
      // Reported by the next await; without this it would count as unhandled until then.
      writing.catch(ignore);
      gathered = [];
      bytes = 0;
    }
  } finally {
    // The file may not be closed while a write is under way.
    await writing.catch(ignore);
  }
  await writing;
  if (bytes > 0) await write(gathered, bytes);
  return size;
}

function ignore(): void {
  // The error that led here is the one to report.
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  // Another instance was faster.
  if (error.code !== "ENOENT") throw error;
  return undefined;
}
