/** Writes lines to a file or to stdout in the background: whatever is wrong there costs lines, never a request. */
import { closeSync, constants, fstatSync, openSync, write, writeSync } from "node:fs";

export interface LogWriterOptions {
  /** What may wait to be written, in bytes; lines above it are lost. Default 1 MiB. */
  maxBufferBytes?: number;
  /** How long a line may wait for others, in milliseconds. Default 200. */
  flushAfterMs?: number;
  /** Takes a sentence about lines that are lost, and about the end of that; by default it goes to stderr. */
  onProblem?: (message: string) => void;
}

/** So much is written without waiting for more, in bytes. */
const FLUSH_BYTES = 16_384;
/** When a full pipe is tried again. */
const RETRY_AFTER_MS = 50;

/** Takes ASCII alone: a character is a byte. */
export class LogWriter {
  private waiting = "";
  private inFlight: Buffer | undefined;
  private timer: NodeJS.Timeout | undefined;
  private lost = 0;
  /** The last write ended within a line. */
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

  /** Resolves when what waits now is written, or cannot be, or when the deadline has passed. */
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

  /** The process exits. What is in flight is left to the system: a pipe that nobody reads must not hold up the exit. */
  private flushNow(): void {
    if (this.inFlight !== undefined || this.waiting === "") return;
    try {
      writeSync(this.descriptor, Buffer.from(this.waiting, "latin1"));
    } catch {
      // Nobody is left to be told.
    }
    this.waiting = "";
  }

  /** Writes no more. */
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
 * The descriptor of a log: a file that is appended to, made with mode 0600, or stdout.
 *
 * @throws the system's error when the file cannot be opened
 */
export function openLog(path: string | undefined): number {
  if (path !== undefined) return openSync(path, "a", 0o600);
  try {
    // A pipe that nobody reads would hold up a thread for ever, and with it Node's exit; and not to block is a property of
    // the open file, which other programs share: so it is opened once more.
    // As bigints: after a plain stat of a pipe Node's `import` follows no links (Node issue 51142).
    if (fstatSync(1, { bigint: true }).isFIFO())
      return openSync("/proc/self/fd/1", constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    // No /proc, or not ours to open: the one that there is will do.
  }
  return 1;
}
