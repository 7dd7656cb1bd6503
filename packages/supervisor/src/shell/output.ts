/** What a child writes: a file that the child appends to and that we read line by line and keep within a bound. */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, unlinkSync } from "node:fs";

const MAX_LINE_BYTES = 8 << 10;
const LAST_LINES = 20;
const CHUNK_BYTES = 64 << 10;
const POLL_MS = 200;
const NEWLINE = 0x0a;

const chunk = Buffer.allocUnsafe(CHUNK_BYTES);

/** The output file of one process. */
export class OutputFile {
  /** For the child's stdout and stderr: every write is appended, wherever the end is then. */
  readonly fd: number;
  /** The last lines written, the newest last. */
  readonly lastLines: string[] = [];
  private offset = 0;
  private partial: Buffer = Buffer.alloc(0);
  private skipping = false;
  private closed = false;

  /**
   * Creates the file, readable to its owner alone.
   * @param maxBytes when the file is longer than this it is emptied, after it was read.
   */
  constructor(
    private readonly path: string,
    private readonly maxBytes: number,
    private readonly onLine: (line: string) => void,
  ) {
    // A file that is not an O_APPEND one would keep its holes after a truncation: each writer has an offset of its own.
    this.fd = openSync(path, "a+", 0o600);
  }

  /** Reads what is new. */
  read(): void {
    if (this.closed) return;
    const { size } = fstatSync(this.fd);
    if (size < this.offset) this.offset = 0;
    if (size === this.offset) return;
    const unread = size - this.offset;
    if (unread > this.maxBytes) {
      const kept = Math.min(this.maxBytes, CHUNK_BYTES);
      this.endLine();
      this.line(`[${unread - kept} bytes of output left out]`);
      this.offset = size - kept;
    }
    while (this.offset < size) {
      const count = readSync(this.fd, chunk, 0, Math.min(CHUNK_BYTES, size - this.offset), this.offset);
      if (count === 0) break;
      this.offset += count;
      this.take(chunk.subarray(0, count));
    }
    if (this.offset > this.maxBytes) {
      // What is written between the last read and this call is lost; that is the price of the bound.
      ftruncateSync(this.fd, 0);
      this.offset = 0;
    }
  }

  /** Reads the rest, and removes the file. */
  close(): void {
    if (this.closed) return;
    this.read();
    this.endLine();
    this.closed = true;
    closeSync(this.fd);
    try {
      unlinkSync(this.path);
    } catch (error) {
      // Someone was faster; that the file is gone is all we want.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  private take(bytes: Buffer): void {
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, start);
      if (end === -1) break;
      this.extend(bytes.subarray(start, end));
      this.endLine();
      this.skipping = false;
      start = end + 1;
    }
    this.extend(bytes.subarray(start));
  }

  /** Adds to the line that is not whole yet; past the bound it is told as it is, and the rest is skipped. */
  private extend(bytes: Buffer): void {
    if (this.skipping || bytes.length === 0) return;
    const room = MAX_LINE_BYTES - this.partial.length;
    this.partial = Buffer.concat([this.partial, bytes.subarray(0, room)]);
    if (bytes.length <= room) return;
    this.partial = Buffer.concat([this.partial, Buffer.from(" […]")]);
    this.endLine();
    this.skipping = true;
  }

  private endLine(): void {
    if (this.partial.length === 0) return;
    const text = this.partial.toString("utf8").replace(/\r$/, "");
    this.partial = Buffer.alloc(0);
    this.line(text);
  }

  private line(text: string): void {
    this.lastLines.push(text);
    if (this.lastLines.length > LAST_LINES) this.lastLines.shift();
    this.onLine(text);
  }
}

/** Reads the output of all processes at an interval. */
export class OutputPoller {
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly files: () => Iterable<OutputFile>,
    private readonly problem: (error: unknown) => void,
  ) {}

  start(): void {
    this.timer = setInterval(() => this.poll(), POLL_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private poll(): void {
    for (const file of this.files()) {
      try {
        file.read();
      } catch (error) {
        this.problem(error);
      }
    }
  }
}
