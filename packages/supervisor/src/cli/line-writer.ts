/**
 * Writes log lines in the background, to a file or to stdout. If the target fails or is too slow, lines are dropped, counted per name and
 * reported in the log. The fleet never waits for the log.
 */
import { closeSync, fstatSync, statSync, write } from "node:fs";
import { openStdout } from "@paceline/wire";
import type { LogLine } from "../control/api.js";
import { lostText } from "../core/words.js";
import { formatLogJson, formatLogLine } from "./format-line.js";

/** The size of one write, in bytes. */
const BATCH_BYTES = 128 << 10;
/** How many characters are encoded at once. Encoding each line separately would cost more than all other work on the line. */
const ENCODED_AT_ONCE = 16 << 10;
/** Lines are dropped beyond this many unwritten bytes. */
const MAX_WAITING_BYTES = 8 << 20;
/** If more bytes than this are unwritten, callers that can wait should wait. */
const BUSY_BYTES = 1 << 20;
/** The delays before a full pipe is tried again, in milliseconds: short at first because pipes are small, longer if the reader is stuck. */
const FIRST_BUSY_MS = 1;
const MAX_BUSY_MS = 50;
const NEWLINE = 0x0a;
const TOO_SLOW = "it is not written as fast as it grows";

type WriteDone = (error: NodeJS.ErrnoException | null, written: number) => void;

export interface LineTarget {
  /** Writes as much of `bytes` as possible and reports the number written. May call back synchronously. */
  write(bytes: Buffer, done: WriteDone): void;
  /** Called after a write that failed within a line. Removes the written part of the line if possible. */
  takeBack?(bytes: number): void;
}

interface LineWriterOptions {
  target: LineTarget;
  format(line: LogLine): string;
  /** Called when writing starts to fail. */
  onProblem?(problem: string): void;
  /** How long to wait after a failure before trying again, in milliseconds. Default: 1,000. */
  retryMs?: number;
}

/** Lines that are written together. They are stored as bytes, because queued strings take twice the memory. */
interface Batch {
  room: Buffer;
  length: number;
  /** The name of each line. */
  names: string[];
  /** 1 for an ordinary line. For a line that reports lost lines, minus their number. */
  weights: number[];
}

interface Writing extends Batch {
  /** The unwritten bytes. */
  bytes: Buffer;
  /** How many bytes of a partly written line were written. */
  cutBytes: number;
}

function weightOf({ lost }: LogLine): number {
  return lost === undefined ? 1 : -lost;
}

export class LineWriter {
  /** Why lines are being lost; null if none are. */
  problem: string | null = null;
  /** The number of lines lost so far. */
  linesLost = 0;
  private readonly unreported = new Map<string, number>();
  /** The newest lines, not encoded yet. Empty between calls. */
  private text = "";
  private readonly textNames: string[] = [];
  private readonly textWeights: number[] = [];
  private waiting: Batch[] = [];
  private waitingBytes = 0;
  /** The buffer of the last written batch, kept for reuse. */
  private spare: Buffer | undefined;
  private writing: Writing | undefined;
  private retry: NodeJS.Timeout | undefined;
  private settled: (() => void)[] = [];
  private busyMs = FIRST_BUSY_MS;
  private isClosed = false;

  constructor(private readonly options: LineWriterOptions) {}

  /** Whether lines arrive faster than they are written. False while the target fails, because waiting would not help. */
  get isBusy(): boolean {
    return this.waitingBytes > BUSY_BYTES && this.problem === null;
  }

  /** Whether nothing waits to be written, or the target fails. */
  get isSettled(): boolean {
    return (this.waitingBytes === 0 && this.writing === undefined) || this.problem !== null;
  }

  add(lines: readonly LogLine[]): void {
    if (this.isClosed) return;
    for (const line of lines) {
      if (this.retry !== undefined || this.waitingBytes > MAX_WAITING_BYTES) {
        this.lose(line.name, weightOf(line));
        if (this.retry === undefined) this.say(TOO_SLOW);
      } else {
        this.reportLost();
        this.push(line);
      }
    }
    this.start();
  }

  /** Accepts no more lines. Resolves when everything is written or cannot be written, or after `deadlineMs`. */
  close(deadlineMs: number): Promise<void> {
    this.isClosed = true;
    if (this.retry !== undefined) {
      // Tries once more, so that lost lines are reported.
      clearTimeout(this.retry);
      this.retry = undefined;
      this.reportLost();
      this.start();
    }
    if (this.writing === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.settled.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  private push(line: LogLine): void {
    this.text += `${this.options.format(line)}\n`;
    this.textNames.push(line.name);
    this.textWeights.push(weightOf(line));
    if (this.text.length >= ENCODED_AT_ONCE) this.encode();
  }

  private encode(): void {
    const { text, textNames, textWeights } = this;
    if (text === "") return;
    const size = Buffer.byteLength(text);
    let batch = this.waiting.at(-1);
    if (batch === undefined || batch.length + size > batch.room.length) {
      batch = { room: this.roomFor(size), length: 0, names: [], weights: [] };
      this.waiting.push(batch);
    }
    batch.length += batch.room.write(text, batch.length);
    for (const name of textNames) batch.names.push(name);
    for (const weight of textWeights) batch.weights.push(weight);
    this.waitingBytes += size;
    this.text = "";
    textNames.length = textWeights.length = 0;
  }

  private roomFor(size: number): Buffer {
    const { spare } = this;
    if (spare === undefined || size > BATCH_BYTES) return Buffer.allocUnsafeSlow(Math.max(size, BATCH_BYTES));
    this.spare = undefined;
    return spare;
  }

  /** Discards a batch that is written or lost. */
  private release({ room }: Batch): void {
    this.writing = undefined;
    if (room.length === BATCH_BYTES) this.spare = room;
  }

  private reportLost(): void {
    if (this.unreported.size === 0) return;
    const at = Date.now();
    const why = `the log could not be written${this.problem === null ? "" : `: ${this.problem}`}`;
    const unreported = [...this.unreported];
    this.unreported.clear();
    for (const [name, lost] of unreported) this.push({ sequence: 0, at, name, text: lostText(lost, why), lost });
  }

  private lose(name: string, weight: number): void {
    if (weight > 0) this.linesLost += weight;
    this.unreported.set(name, (this.unreported.get(name) ?? 0) + Math.abs(weight));
  }

  private start(): void {
    this.encode();
    if (this.writing !== undefined || this.retry !== undefined) return;
    const batch = this.waiting.shift();
    if (batch === undefined) {
      for (const settled of this.settled.splice(0)) settled();
      return;
    }
    this.waitingBytes -= batch.length;
    this.writing = { ...batch, bytes: batch.room.subarray(0, batch.length), cutBytes: 0 };
    this.writeSome();
  }

  private writeSome(): void {
    const { target } = this.options;
    const { bytes } = this.writing as Writing;
    target.write(bytes, (error, written) => {
      if (error?.code === "EAGAIN") {
        setTimeout(() => this.writeSome(), this.busyMs);
        this.busyMs = Math.min(2 * this.busyMs, MAX_BUSY_MS);
        return;
      }
      this.busyMs = FIRST_BUSY_MS;
      if (error === null && written < bytes.length) {
        this.advance(written);
        return this.writeSome();
      }
      if (error === null) this.succeeded();
      else this.failed(error);
    });
  }

  /** Drops the lines that are written completely from the batch, and the written part of the next one. */
  private advance(written: number): void {
    const batch = this.writing as Writing;
    let whole = 0;
    for (let at = batch.bytes.indexOf(NEWLINE); at !== -1 && at < written; at = batch.bytes.indexOf(NEWLINE, at + 1)) {
      whole++;
    }
    batch.names.splice(0, whole);
    batch.weights.splice(0, whole);
    const cut = written - 1 - batch.bytes.lastIndexOf(NEWLINE, written - 1);
    batch.cutBytes = whole === 0 ? batch.cutBytes + written : cut;
    batch.bytes = batch.bytes.subarray(written);
  }

  private succeeded(): void {
    this.release(this.writing as Writing);
    if (this.waiting.length === 0 && this.unreported.size > 0) this.reportLost();
    if (this.unreported.size === 0 && this.waitingBytes < MAX_WAITING_BYTES / 2) this.problem = null;
    this.start();
  }

  private failed({ message }: Error): void {
    const batch = this.writing as Writing;
    this.release(batch);
    if (batch.cutBytes > 0) this.options.target.takeBack?.(batch.cutBytes);
    // Queued lines are kept, so that a disk that is full for a moment costs only this batch.
    for (const [at, name] of batch.names.entries()) this.lose(name, batch.weights[at] as number);
    this.say(message);
    if (this.isClosed) {
      this.waiting = [];
      return this.start();
    }
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.reportLost();
      this.start();
    }, this.options.retryMs ?? 1_000);
    this.retry.unref();
  }

  private say(problem: string): void {
    if (this.problem === problem) return;
    this.problem = problem;
    this.options.onProblem?.(problem);
  }
}

const CLOSE_TIMEOUT_MS = 2_000;

export interface LogPrinter {
  print(lines: readonly LogLine[]): void;
  /** Resolves when everything is printed, or cannot be. */
  close(): Promise<void>;
}

/** Returns the printer of a fleet's log on stdout. */
export function openLogPrinter(format: "text" | "json" | "none"): LogPrinter {
  if (format === "none" || isDiscarded()) return { print: () => {}, close: async () => {} };
  const fd = openStdout();
  const isTerminal = process.stdout.isTTY === true;
  const writer = new LineWriter({
    target: {
      write: (bytes, done) => write(fd, bytes, 0, bytes.length, null, (error, written = 0) => done(error, written)),
    },
    format: (line) => (format === "json" ? formatLogJson(line) : formatLogLine(line, isTerminal)),
  });
  return {
    print: (lines) => writer.add(lines),
    close: async () => {
      await writer.close(CLOSE_TIMEOUT_MS);
      if (fd !== 1) closeSync(fd);
    },
  };
}

/** Whether stdout is /dev/null: lines are then not formatted, to save CPU time. */
function isDiscarded(): boolean {
  try {
    const { rdev, dev, ino } = fstatSync(1, { bigint: true });
    const none = statSync("/dev/null", { bigint: true });
    return rdev !== 0n && rdev === none.rdev && dev === none.dev && ino === none.ino;
  } catch {
    return false;
  }
}
