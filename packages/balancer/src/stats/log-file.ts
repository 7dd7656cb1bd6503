/** The file of an access log: collects lines in memory and writes large blocks. Excess lines are lost and counted. */
import { closeSync, constants, fstatSync, openSync, write, writeSync } from "node:fs";

/** The size of each of two buffers. While one is being filled, the other is being written. */
const BUFFER_BYTES = 1 << 20;
/** How long a line may wait in milliseconds, so that several lines are written together. */
const FLUSH_AFTER_MS = 100;
/** Lines are written at once above this size. Each write wakes another thread, which takes as long as making some hundred lines. */
const FLUSH_AT_BYTES = 512 << 10;
/** How often opening a file is retried, in milliseconds. */
const OPEN_AGAIN_MS = 1000;
/** The minimum time between two reports of lost lines, in milliseconds. */
const REPORT_EVERY_MS = 60_000;
/** Readable by its owner and group, like the log files of other servers. */
const MODE = 0o640;
const LINE_END = 10;

export interface LogFileOptions {
  /** A descriptor opened for appending, or the absolute path of a file. */
  target: number | string;
  /** Returns the line that reports lost lines. */
  lostLine(lines: number): string;
  /** Receives a line for the operator, at most once a minute. */
  onProblem(message: string): void;
  /** Called before a block is written, so that lines that are not made yet are added to it. */
  beforeWrite?(): void;
  /** Default: `write` of node:fs. */
  write?(fd: number, bytes: Buffer, at: number, length: number, done: Written): void;
}

type Written = (error: Error | null, written: number) => void;

/** The rest of a line that was written in part, and the size of the file at that moment. */
interface Rest {
  bytes: Buffer;
  fileBytes: number;
}

export class LogFile {
  private fd: number;
  /** The lines that are not being written yet, and the position after them, where the next line begins. */
  filled: Buffer = newBuffer();
  length = 0;
  private spare: Buffer | undefined = newBuffer();
  /** The number of lines that are lost and not yet reported in a buffer. */
  private lost = 0;
  /** How many lost lines the report at the start of a buffer counts: in the buffer being filled, and in the one being written. */
  private reported = 0;
  private reportedInWrite = 0;
  private timer: NodeJS.Timeout | undefined;
  /** The beginning of the next write, after a write that ended within a line. */
  private rest: Rest | undefined;
  private isReopening = false;
  private isClosed = false;
  private openAgainAt = 0;
  private nextReportAt = 0;

  constructor(private readonly options: LogFileOptions) {
    const { target } = options;
    this.fd = typeof target === "number" ? target : this.open(target);
  }

  /** Returns -1 if the file cannot be opened now. */
  private open(path: string): number {
    try {
      const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
      // With O_NONBLOCK, a named pipe without a reader is an error. Otherwise opening it would block the balancer.
      return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, MODE);
    } catch (error) {
      this.openAgainAt = performance.now() + OPEN_AGAIN_MS;
      this.reportProblem(`the access log cannot be opened: ${(error as Error).message}`);
      return -1;
    }
  }

  private reportProblem(problem: string): void {
    const now = performance.now();
    if (now < this.nextReportAt) return;
    this.nextReportAt = now + REPORT_EVERY_MS;
    this.options.onProblem(problem);
  }

  /** Whether a line of up to `maxBytes` fits at `length` of `filled`; otherwise it is counted as lost. */
  hasRoom(maxBytes: number): boolean {
    if (this.length + maxBytes <= this.filled.length) return true;
    this.lost++;
    this.reportProblem("the access log loses lines: they are not written as fast as they come");
    return false;
  }

  /**
   * Called when a line was written into `filled`.
   * @param end the position after it
   */
  added(end: number): void {
    this.length = end;
    if (end < FLUSH_AT_BYTES) this.expectLines();
    else if (!this.isClosed) this.flush();
  }

  /** Called when lines will be added soon. */
  expectLines(): void {
    if (!this.isClosed) this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  /** Reopens the file after it was moved. */
  reopen(): void {
    if (typeof this.options.target === "number") return;
    this.isReopening = true;
    this.flush();
    if (this.spare !== undefined) this.openAnew();
  }

  /** Earlier lines were written to the former file. If the new one cannot be opened, the former one stays in use. */
  private openAnew(): void {
    this.isReopening = false;
    const { fd } = this;
    const opened = this.open(this.options.target as string);
    if (opened < 0) return;
    this.fd = opened;
    // Its last line stays incomplete in the former file.
    if (this.rest !== undefined) this.lost++;
    this.rest = undefined;
    if (fd >= 0) closeSync(fd);
  }

  private flush(): void {
    this.options.beforeWrite?.();
    clearTimeout(this.timer);
    this.timer = undefined;
    // Only one write is in progress; its completion starts the next.
    if (this.spare === undefined || this.length === 0) return;
    if (this.fd < 0 && performance.now() >= this.openAgainAt) this.openAnew();
    const { filled, length } = this;
    this.filled = this.spare;
    this.spare = undefined;
    this.length = 0;
    this.reportedInWrite = this.reported;
    this.reported = 0;
    this.settleRest();
    if (this.lost > 0) this.reportLost();
    this.write(filled, 0, length);
  }

  private write(buffer: Buffer, from: number, to: number): void {
    if (this.fd < 0) {
      this.lose(buffer, from, to);
      this.written(buffer);
      return;
    }
    const { rest } = this;
    const [bytes, at, length] = rest === undefined ? [buffer, from, to - from] : [rest.bytes, 0, rest.bytes.length];
    const { write: put = writeAtEnd } = this.options;
    put(this.fd, bytes, at, length, (error, written) => {
      if (error !== null) {
        // The disk is full, so the rest of this buffer is lost.
        this.lose(buffer, from, to);
        this.reportProblem(`the access log loses lines: ${error.message}`);
      } else if (rest !== undefined) {
        this.rest = written < length ? { bytes: bytes.subarray(written), fileBytes: sizeOf(this.fd) } : undefined;
        return this.write(buffer, from, to);
      } else if (written < length) return this.write(buffer, from + written, to);
      this.written(buffer);
    });
  }

  /** Counts the lines that were not written, except a partly written line, whose rest is kept. */
  private lose(buffer: Buffer, from: number, to: number): void {
    let start = from;
    if (from > 0 && buffer[from - 1] !== LINE_END) {
      start = buffer.indexOf(LINE_END, from) + 1;
      this.rest = { bytes: Buffer.from(buffer.subarray(from, start)), fileBytes: sizeOf(this.fd) };
    }
    this.lost += countLines(buffer, start, to);
    // The report at the start of the buffer is not the line of a request. The lines that it counts are still to be reported.
    if (this.reportedInWrite > 0 && start === 0) this.lost += this.reportedInWrite - 1;
  }

  /** Drops the rest of a partly written line if another program has written to the file since, or has truncated it. */
  private settleRest(): void {
    const { rest } = this;
    if (rest === undefined) return;
    const fileBytes = sizeOf(this.fd);
    if (rest.fileBytes === fileBytes) return;
    if (rest.bytes.length > 1) this.lost++;
    this.rest = { bytes: Buffer.of(LINE_END), fileBytes };
  }

  private written(buffer: Buffer): void {
    this.spare = buffer;
    if (this.isReopening) this.openAnew();
    if (this.length >= FLUSH_AT_BYTES && this.fd >= 0) this.flush();
    else if (this.length > 0) this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  private reportLost(): void {
    this.length += this.filled.write(this.options.lostLine(this.lost), this.length, "latin1");
    this.reported = this.lost;
    this.lost = 0;
  }

  /** Writes the rest before the process exits. */
  close(): void {
    clearTimeout(this.timer);
    this.isClosed = true;
    this.options.beforeWrite?.();
    this.settleRest();
    const line = this.lost > 0 ? this.options.lostLine(this.lost) : "";
    if (this.length + line.length <= this.filled.length) this.length += this.filled.write(line, this.length, "latin1");
    try {
      if (this.rest !== undefined) writeSync(this.fd, this.rest.bytes);
      writeSync(this.fd, this.filled, 0, this.length);
    } catch {
      // The disk is full, and there is no way left to report it.
    }
    this.length = 0;
  }
}

function writeAtEnd(fd: number, bytes: Buffer, at: number, length: number, done: Written): void {
  write(fd, bytes, at, length, null, done);
}

/** Returns 0 for a pipe, and if the size cannot be read. */
function sizeOf(fd: number): number {
  try {
    return fstatSync(fd).size;
  } catch {
    return 0;
  }
}

function newBuffer(): Buffer {
  return Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

function countLines(buffer: Buffer, from: number, to: number): number {
  let lines = 0;
  for (let at = buffer.indexOf(LINE_END, from); at >= 0 && at < to; at = buffer.indexOf(LINE_END, at + 1)) lines++;
  return lines;
}
