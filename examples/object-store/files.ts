/** The files of objects: they are written completely or not at all, with random names that never change. */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, type FileHandle, link, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Segment } from "./schema.ts";

/** The number of bytes that are gathered before a write, and read at once. */
const BLOCK_BYTES = 256 * 1024;
/** After this many bytes, written data is flushed to the disk, so that the last sync is short and the page cache stays free. */
const FLUSH_BYTES = 64 << 20;
/** The files are in folders by the first two digits of their names. */
const FOLDERS = Array.from({ length: 256 }, (_, at) => at.toString(16).padStart(2, "0"));
/** The number of names that are yielded at once. */
const NAMES = 500;

export class Files {
  private readonly objects: string;
  private readonly temporary: string;

  constructor(folder: string) {
    this.objects = join(folder, "objects");
    this.temporary = join(folder, "temporary");
  }

  async prepare(): Promise<void> {
    const folders = [this.temporary, ...FOLDERS.map((name) => join(this.objects, name))];
    for (const folder of folders) await mkdir(folder, { recursive: true, mode: 0o700 });
  }

  private readonly fullPath = (file: string) => join(this.objects, pathOf(file));

  /**
   * Writes a body into a new file. When it resolves, the file and its name are on the disk; when it rejects, there is no file.
   * @param check runs after the last piece, and rejects an invalid body
   */
  async receive(body: AsyncIterable<Uint8Array>, check: (size: number) => void): Promise<Segment> {
    const file = newName();
    const path = join(this.temporary, file);
    const handle = await open(path, "wx", 0o600);
    try {
      const size = await writeAll(handle, body);
      check(size);
      await handle.sync();
      await handle.close();
      await rename(path, this.fullPath(file));
      await this.syncFolder(file.slice(0, 2));
      return { file, start: 0, size };
    } catch (error) {
      await Promise.allSettled([handle.close(), unlink(path)]);
      throw error;
    }
  }

  private async syncFolder(name: string): Promise<void> {
    const folder = await open(join(this.objects, name), "r");
    await folder.sync().finally(() => folder.close());
  }

  /** Creates a hard link to each file, so that a copy takes no space; returns the segments with the new names. */
  async link(segments: Segment[]): Promise<Segment[]> {
    const copies: Segment[] = [];
    try {
      for (const segment of segments) {
        const file = newName();
        await link(this.fullPath(segment.file), this.fullPath(file)).catch((error: NodeJS.ErrnoException) => {
          // On ext4 a file can have at most 65,000 names.
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

  /** Yields a part of the bytes of the segments, one file after the other. */
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

  /** Removes temporary files that nobody has written to for some time: their instance was killed. */
  async sweepTemporary(before: number): Promise<number> {
    const names = await namesIn(this.temporary, "mtimeMs", before);
    for (const name of names) await unlink(join(this.temporary, name)).catch(ignoreMissing);
    return names.length;
  }

  /** Yields the files that have had their names since before a time. */
  async *older(before: number): AsyncGenerator<string[]> {
    for (const folder of FOLDERS) {
      const found = await namesIn(join(this.objects, folder), "ctimeMs", before);
      for (let first = 0; first < found.length; first += NAMES) yield found.slice(first, first + NAMES);
    }
  }
}

/** Returns the parts of segments that contain the bytes from `start` to `end`. */
export function slice(segments: Segment[], start: number, end: number): Segment[] {
  let at = 0;
  return segments.flatMap((segment) => {
    const [from, to] = [Math.max(start - at, 0), Math.min(end - at, segment.size)];
    at += segment.size;
    if (from >= to) return [];
    const isSlice = segment.isSlice || to - from < segment.size;
    return [{ file: segment.file, start: segment.start + from, size: to - from, ...(isSlice && { isSlice }) }];
  });
}

/** Writes a block while the next one arrives; at most two are in memory. */
async function writeAll(handle: FileHandle, body: AsyncIterable<Uint8Array>): Promise<number> {
  let size = 0;
  const write = async (block: Buffer): Promise<void> => {
    // A kernel may accept fewer bytes, for example when a disk is nearly full.
    for (let at = 0; at < block.length; ) at += (await handle.write(block, at)).bytesWritten;
    const isDue = Math.floor(size / FLUSH_BYTES) < Math.floor((size + block.length) / FLUSH_BYTES);
    size += block.length;
    if (isDue) await handle.datasync();
  };
  let writing: Promise<void> = Promise.resolve();
  try {
    for await (const block of blocksOf(body)) {
      await writing;
      writing = write(block);
      // The next await reports it; without this line it would count as unhandled until then.
      writing.catch(() => undefined);
    }
  } finally {
    // The file must not be closed during a write.
    await Promise.allSettled([writing]);
  }
  await writing;
  return size;
}

async function* blocksOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of body) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes < BLOCK_BYTES) continue;
    yield Buffer.concat(pieces);
    [pieces, bytes] = [[], 0];
  }
  if (bytes > 0) yield Buffer.concat(pieces);
}

/** Returns the files in a folder whose time is before the given one. */
async function namesIn(folder: string, time: "mtimeMs" | "ctimeMs", before: number): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(folder)) {
    const info = await stat(join(folder, name)).catch(ignoreMissing);
    if (info !== undefined && info[time] < before) found.push(name);
  }
  return found;
}

/** Relative to the folder of objects. */
export const pathOf = (file: string) => `${file.slice(0, 2)}/${file}`;

const newName = () => randomUUID().replaceAll("-", "");

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  // Another instance was faster.
  if (error.code !== "ENOENT") throw error;
  return undefined;
}
