/** Writes lines to a file or to stdout in the background: an error costs lines, never a request. */
import { closeSync, openSync, write, writeSync } from "node:fs";
import { openStdout } from "@paceline/wire";

export interface LogWriterOptions {
  /** The maximum size of the buffer, in bytes; further lines are dropped. Default: 1 MiB. */
  maxBufferBytes?: number;
  /** The maximum delay of a line, in milliseconds. Default: 200. */
  flushAfterMs?: number;
  /** Receives a sentence when lines are dropped, and when that ends. Default: writes it to stderr. */
  onProblem?: (message: string) => void;
}

/** Writes at once above this size, in bytes. */
const FLUSH_BYTES = 16_384;
/** The delay before a full pipe is retried, in milliseconds. */
const RETRY_AFTER_MS = 50;

/** Takes only ASCII: a character is a byte. */
export class LogWriter {
  private waiting = "";
  private inFlight: Buffer | undefined;
  private timer: NodeJS.Timeout | undefined;
  private lost = 0;
  /** Whether the last write ended within a line. */
  private isWithinLine = false;
  private settled: (() => void)[] = [];
  private readonly maxBufferBytes: number;
  private readonly flushAfterMs: number;
  private readonly onProblem: (message: string) => void;
  private readonly atExit = () => this.flushNow();

  constructor(
    private readonly descriptor: number,
    options: LogWriterOptions = {},
  ) {
    this.maxBufferBytes = options.maxBufferBytes ?? 1 << 20;
    this.flushAfterMs = options.flushAfterMs ?? 200;
    this.onProblem = options.onProblem ?? ((message) => console.error(message));
    process.on("exit", this.atExit);
  }

  write(line: string): void {
    if (this.waiting.length + line.length + (this.inFlight?.length ?? 0) > this.maxBufferBytes) {
      this.lose(1, "it is not written as fast as it grows");
      return;
    }
    this.waiting += line;
    if (this.inFlight !== undefined) return;
    if (this.waiting.length >= FLUSH_BYTES) this.start();
    else this.timer ??= setTimeout(() => this.start(), this.flushAfterMs).unref();
  }

  /** Resolves when the buffered lines are written or dropped, or at the deadline. */
  flush(deadlineMs: number): Promise<void> {
    if (this.inFlight === undefined) this.start();
    if (this.inFlight === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      setTimeout(resolve, deadlineMs).unref();
      this.settled.push(resolve);
    });
  }

  private start(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.waiting === "") {
      for (const settled of this.settled.splice(0)) settled();
      return;
    }
    const text = this.isWithinLine ? `\n${this.waiting}` : this.waiting;
    this.waiting = "";
    this.inFlight = Buffer.from(text, "latin1");
    this.writeSome();
  }

  private writeSome(): void {
    const bytes = this.inFlight as Buffer;
    write(this.descriptor, bytes, 0, bytes.length, null, (error, written = 0) => {
      if (error !== null && error.code === "EAGAIN") {
        setTimeout(() => this.writeSome(), RETRY_AFTER_MS).unref();
        return;
      }
      if (error !== null) {
        this.lose(linesIn(bytes), error.code ?? error.message);
      } else {
        this.isWithinLine = written > 0 && bytes[written - 1] !== NEWLINE;
        if (written < bytes.length) {
          this.inFlight = bytes.subarray(written);
          this.writeSome();
          return;
        }
        this.recovered();
      }
      this.inFlight = undefined;
      this.start();
    });
  }

  private lose(lines: number, reason: string): void {
    if (this.lost === 0) this.onProblem(`the access log loses lines: ${reason}`);
    this.lost += lines;
  }

  private recovered(): void {
    if (this.lost === 0) return;
    this.onProblem(`the access log is written again; ${this.lost} lines were lost`);
    this.lost = 0;
  }

  /** Writes at exit. A pending write is left to the system, because an unread pipe must not delay the exit. */
  private flushNow(): void {
    if (this.inFlight !== undefined || this.waiting === "") return;
    try {
      writeSync(this.descriptor, Buffer.from(this.waiting, "latin1"));
    } catch {
      // Nobody can receive the error.
    }
    this.waiting = "";
  }

  /** Flushes and stops writing. */
  close(): void {
    this.flushNow();
    clearTimeout(this.timer);
    process.removeListener("exit", this.atExit);
    if (this.descriptor > 2) closeSync(this.descriptor);
  }
}

const NEWLINE = 0x0a;

function linesIn(bytes: Buffer): number {
  let lines = 0;
  for (const byte of bytes) if (byte === NEWLINE) lines++;
  return lines;
}

/**
 * Opens the log for appending: a file, created with mode 0600, or stdout.
 *
 * @throws the system's error when the file cannot be opened
 */
export function openLog(path: string | undefined): number {
  return path === undefined ? openStdout() : openSync(path, "a", 0o600);
}
