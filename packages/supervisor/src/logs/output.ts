/** What a child writes: a file that the child appends to and that we read line by line, giving back what is read. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, unlinkSync } from "node:fs";
import { LineCutter, MAX_LINE_BYTES } from "./line-cutter.js";
import { FATAL_LINE } from "./python-stack.js";
import { canRelease, releaseRead } from "./release-read.js";

const LAST_LINES = 20;
/** So many where Python has written what it was at: the innermost frames come first. */
const LAST_TRACEBACK_LINES = 120;
/** Of a longer one the begin is kept, in characters. */
const LAST_LINE_CHARACTERS = 4096;
const CHUNK_BYTES = MAX_LINE_BYTES;
/** So much is read of one file before the others, and all else this process does, have their turn. */
const PASS_BYTES = 256 << 10;
/** So much that was read is given back to the disk at once. */
const RELEASE_BYTES = 1 << 20;

/**
 * After so much was read, of all files, Bun is made to collect: left alone it lets hundreds of megabytes of text pile up. At 80,000
 * lines a second that costs no more than to collect after four times as much, and the process stays 15 MB smaller.
 */
const BYTES_BETWEEN_COLLECTIONS = 1 << 20;
let readSinceCollection = 0;

const chunk = Buffer.allocUnsafe(CHUNK_BYTES);

export interface OutputSink {
  /** Lines in the order in which they were written. */
  lines(texts: string[]): void;
  /** So many lines before those that come next were not read in time. */
  lost(count: number): void;
}

/**
 * The output file of one process. It grows on and on while the part that was read takes no room on the disk: emptying a
 * file that somebody writes to loses what comes between the last reading and that.
 */
export class OutputFile {
  /** For the child's stdout and stderr: every write is appended, wherever the end is then. */
  readonly fd: number;
  /** The last lines written, the newest last. */
  readonly lastLines: string[] = [];
  private readonly cutter = new LineCutter();
  private offset = 0;
  /** What comes before this is left out. */
  private skipTo = 0;
  /** What comes before this takes no room any more. */
  private released = 0;
  private closed = false;

  /**
   * Creates the file, readable to its owner alone.
   * @param maxBytes what may be unread; beyond it the oldest lines are left out, and counted.
   */
  constructor(
    private readonly path: string,
    private readonly maxBytes: number,
    private readonly sink: OutputSink,
  ) {
    // Of the file alone, not of what somebody has put in its place.
    this.fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW, 0o600);
  }

  /** How much of it was read, in bytes. */
  get position(): number {
    return this.offset;
  }

  /** Reads what is new, as far as one turn goes; whether there is more. */
  read(): boolean {
    if (this.closed) return false;
    const { size } = fstatSync(this.fd);
    // Somebody else has emptied it.
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

  /** Reads the rest, and removes the file. */
  close(): void {
    if (this.closed) return;
    // What it started may still write: it ends with what was there.
    for (const { size } = fstatSync(this.fd); this.offset < size && this.read(); );
    const lines: string[] = [];
    this.cutter.end(lines);
    this.tell(lines);
    this.closed = true;
    closeSync(this.fd);
    try {
      unlinkSync(this.path);
    } catch (error) {
      // Someone was faster; that the file is gone is all we want.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  private release(): void {
    this.released = releaseRead(this.fd, this.released, this.offset, Math.min(this.maxBytes >> 1, RELEASE_BYTES));
    // Without holes it is emptied, when all was read a moment ago: what comes in between is lost.
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

/** A copy: a part of a text keeps all of it. */
function beginOf(line: string): string {
  return line.length <= LAST_LINE_CHARACTERS ? line : Buffer.from(line.slice(0, LAST_LINE_CHARACTERS)).toString();
}
