/** The file of an access log: collects lines in memory and writes large blocks. Excess lines are lost and counted. */
import { closeSync, constants, openSync, write, writeSync } from "node:fs";

/** The size of each of two buffers: one is being filled, one written. */
const BUFFER_BYTES = 1 << 20;
/** How long a line may wait, so that several are written together. */
const FLUSH_AFTER_MS = 100;
/** Lines are written at once above this size. */
const FLUSH_AT_BYTES = 256 << 10;
/** How often a file that cannot be opened is tried again. */
const OPEN_AGAIN_MS = 1000;
/** How often lost lines are reported at most. */
const TELL_EVERY_MS = 60_000;
/** Readable by its owner and group, like the log files of other servers. */
const MODE = 0o640;
/** The first byte of a buffer is a line end, for a line that was cut off before it. */
const START = 1;
const LINE_END = 10;

export interface LogFileOptions {
  /** A descriptor opened for appending, or the absolute path of a file. */
  target: number | string;
  /** Returns the line that reports lost ones. */
  lostLine(lines: number): string;
  /** Receives a line for the operator, at most once a minute. */
  onProblem(message: string): void;
}

export class LogFile {
  private fd: number;
  private filled: Buffer = newBuffer();
  private spare: Buffer | undefined = newBuffer();
  private length = START;
  private lost = 0;
  private timer: NodeJS.Timeout | undefined;
  /** Whether the last write ended within a line. */
  private isCut = false;
  private isReopening = false;
  private openAgainAt = 0;
  private tellAt = 0;

  constructor(private readonly options: LogFileOptions) {
    const { target } = options;
    this.fd = typeof target === "number" ? target : this.open(target);
  }

  /** Returns -1 if it cannot be opened now. */
  private open(path: string): number {
    try {
      const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
      // A named pipe without a reader is an error at once; opened as usual it blocks the balancer.
      return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, MODE);
    } catch (error) {
      this.openAgainAt = performance.now() + OPEN_AGAIN_MS;
      this.tell(`the access log cannot be opened: ${(error as Error).message}`);
      return -1;
    }
  }

  private tell(problem: string): void {
    const now = performance.now();
    if (now < this.tellAt) return;
    this.tellAt = now + TELL_EVERY_MS;
    this.options.onProblem(problem);
  }

  /** Adds a line: `put` writes up to `maxBytes` of the buffer at a position and returns the position after them. */
  add(maxBytes: number, put: (to: Uint8Array, at: number) => number): void {
    if (this.length + maxBytes > this.filled.length) {
      this.lost++;
      return this.tell("the access log loses lines: they are not written as fast as they come");
    }
    this.length = put(this.filled, this.length);
    if (this.length >= FLUSH_AT_BYTES) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  /** Opens the file anew, after it was moved. */
  reopen(): void {
    if (typeof this.options.target === "number") return;
    this.isReopening = true;
    this.flush();
    if (this.spare !== undefined) this.openAnew();
  }

  /** The lines so far were written to the former file. If the new one cannot be opened, the former one goes on. */
  private openAnew(): void {
    this.isReopening = false;
    const { fd } = this;
    const opened = this.open(this.options.target as string);
    if (opened < 0) return;
    this.fd = opened;
    this.isCut = false;
    if (fd >= 0) closeSync(fd);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    // One write at a time; its completion starts the next.
    if (this.spare === undefined || this.length === START) return;
    if (this.fd < 0 && performance.now() >= this.openAgainAt) this.openAnew();
    const { filled, length } = this;
    this.filled = this.spare;
    this.spare = undefined;
    this.length = START;
    if (this.lost > 0) this.tellLost();
    this.write(filled, this.isCut ? 0 : START, length);
  }

  private write(buffer: Buffer, from: number, to: number): void {
    if (this.fd < 0) {
      this.lost += countLines(buffer, START, to);
      this.written(buffer);
      return;
    }
    write(this.fd, buffer, from, to - from, null, (error, written) => {
      if (error !== null) {
        // The disk is full, so the rest of this buffer is lost.
        this.lost += countLines(buffer, Math.max(from, START), to);
        this.tell(`the access log loses lines: ${error.message}`);
      } else {
        this.isCut = buffer[from + written - 1] !== LINE_END;
        if (from + written < to) return this.write(buffer, from + written, to);
      }
      this.written(buffer);
    });
  }

  private written(buffer: Buffer): void {
    this.spare = buffer;
    if (this.isReopening) this.openAnew();
    if (this.length >= FLUSH_AT_BYTES && this.fd >= 0) this.flush();
    else if (this.length > START) this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  private tellLost(): void {
    this.length += this.filled.write(this.options.lostLine(this.lost), this.length, "latin1");
    this.lost = 0;
  }

  /** Writes the rest before the process ends. */
  close(): void {
    clearTimeout(this.timer);
    const line = this.lost > 0 ? this.options.lostLine(this.lost) : "";
    if (this.length + line.length <= this.filled.length) this.length += this.filled.write(line, this.length, "latin1");
    try {
      writeSync(this.fd, this.filled, this.isCut ? 0 : START, this.length - (this.isCut ? 0 : START));
    } catch {
      // The disk is full, and there is nobody left to tell.
    }
    this.length = START;
  }
}

function newBuffer(): Buffer {
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  buffer[0] = LINE_END;
  return buffer;
}

function countLines(buffer: Buffer, from: number, to: number): number {
  let lines = 0;
  for (let at = buffer.indexOf(LINE_END, from); at >= 0 && at < to; at = buffer.indexOf(LINE_END, at + 1)) lines++;
  return lines;
}
