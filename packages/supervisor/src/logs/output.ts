/** A child's output: a file that the child appends to. We read it line by line and free the space of what is read. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, unlinkSync } from "node:fs";
import { LineCutter, MAX_LINE_BYTES } from "./line-cutter.js";
import { FATAL_LINE } from "./python-stack.js";
import { canRelease, releaseRead } from "./release-read.js";

const LAST_LINES = 20;
/** A Python traceback has more lines; its innermost frames come first. */
const LAST_TRACEBACK_LINES = 120;
/** Only the beginning of a longer line is kept, in characters. */
const LAST_LINE_CHARACTERS = 4096;
const CHUNK_BYTES = MAX_LINE_BYTES;
/** How much of one file is read before other files and other work get their turn. */
const PASS_BYTES = 256 << 10;
/** How much read data is freed at once. */
const RELEASE_BYTES = 1 << 20;

/**
 * After reading this much from all files, Bun collects garbage; left alone, it piles up hundreds of megabytes of text. At 80,000
 * lines/s, four times the interval is no cheaper and takes 15 MB more memory.
 */
const BYTES_BETWEEN_COLLECTIONS = 1 << 20;
let readSinceCollection = 0;

const chunk = Buffer.allocUnsafe(CHUNK_BYTES);

export interface OutputSink {
  /** Receives lines in the order in which they were written. */
  lines(texts: string[]): void;
  /** Reports that `count` lines before the next ones were not read in time. */
  lost(count: number): void;
}

/**
 * The output file of one process. It grows without limit, but the part that was read is freed on disk. Truncating a file that is
 * being written to would lose what arrives between the last read and the truncation.
 */
export class OutputFile {
  /** For the child's stdout and stderr: every write appends to the end. */
  readonly fd: number;
  /** The last lines written, the newest last. */
  readonly lastLines: string[] = [];
  private readonly cutter = new LineCutter();
  private offset = 0;
  /** Content before this offset is skipped. */
  private skipTo = 0;
  /** Content before this offset is freed. */
  private released = 0;
  private closed = false;

  /**
   * Creates the file, readable only by its owner.
   * @param maxBytes how much may be unread; beyond it, the oldest lines are skipped and counted
   */
  constructor(
    private readonly path: string,
    private readonly maxBytes: number,
    private readonly sink: OutputSink,
  ) {
    // O_NOFOLLOW: never opens a file that a symbolic link points to.
    this.fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW, 0o600);
  }

  /** The number of bytes read. */
  get position(): number {
    return this.offset;
  }

  /** Reads new content, up to a limit. Returns whether there is more. */
  read(): boolean {
    if (this.closed) return false;
    const { size } = fstatSync(this.fd);
    // Another program has truncated it.
    if (size < this.offset) this.offset = this.skipTo = this.released = 0;
    if (size - Math.max(this.offset, this.skipTo) > this.maxBytes) this.skipTo = size - (this.maxBytes >> 1);
    const lines: string[] = [];
    const end = Math.min(size, this.offset + PASS_BYTES);
    while (this.offset < end) {
      const isSkipped = this.offset < this.skipTo;
      const length = Math.min(CHUNK_BYTES, (isSkipped ? this.skipTo : size) - this.offset);
      const count = readSync(this.fd, chunk, 0, length, this.offset);
      if (count === 0) break;
      this.offset += count;
      readSinceCollection += count;
      const bytes = chunk.subarray(0, count);
      if (isSkipped) this.cutter.skip(bytes);
      else this.cutter.take(bytes, lines);
    }
    this.tell(lines);
    this.release();
    if (readSinceCollection >= BYTES_BETWEEN_COLLECTIONS) {
      readSinceCollection = 0;
      if (process.versions.bun !== undefined) Bun.gc(true);
    }
    return this.offset < size;
  }

  /** Reads the rest and deletes the file. */
  close(): void {
    if (this.closed) return;
    // Processes that the child started may still write, so this reads only what is there now.
    for (const { size } = fstatSync(this.fd); this.offset < size && this.read(); );
    const lines: string[] = [];
    this.cutter.end(lines);
    this.tell(lines);
    this.closed = true;
    closeSync(this.fd);
    try {
      unlinkSync(this.path);
    } catch (error) {
      // The file is already deleted.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  private release(): void {
    this.released = releaseRead(this.fd, this.released, this.offset, Math.min(this.maxBytes >> 1, RELEASE_BYTES));
    // Without hole punching the file is truncated when it was just read to its end; output written in between is lost.
    if (canRelease() || this.offset <= this.maxBytes || fstatSync(this.fd).size !== this.offset) return;
    ftruncateSync(this.fd, 0);
    this.offset = this.skipTo = this.released = 0;
  }

  private tell(lines: string[]): void {
    const lost = this.cutter.takeLost();
    if (lost > 0) this.sink.lost(lost);
    if (lines.length === 0) return;
    const said = lines.length <= LAST_TRACEBACK_LINES ? lines : lines.slice(-LAST_TRACEBACK_LINES);
    for (const line of said) if (line !== "") this.lastLines.push(beginOf(line));
    const hasTraceback = this.lastLines.some((line) => line.startsWith(FATAL_LINE));
    const most = hasTraceback ? LAST_TRACEBACK_LINES : LAST_LINES;
    this.lastLines.splice(0, Math.max(0, this.lastLines.length - most));
    this.sink.lines(lines);
  }
}

/** Returns a copy: a slice would keep the whole line in memory. */
function beginOf(line: string): string {
  return line.length <= LAST_LINE_CHARACTERS ? line : Buffer.from(line.slice(0, LAST_LINE_CHARACTERS)).toString();
}
