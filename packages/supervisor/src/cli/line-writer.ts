/**
 * Writes lines of the log in the background, to a file or to stdout. What cannot be written, or not as fast as it comes,
 * costs lines, which are counted by name and told where they are missing; it never holds up the fleet.
 */
import type { LogLine } from "../control/api.js";
import { lostText } from "../core/words.js";

/** What is written at once. */
const BATCH_BYTES = 128 << 10;
/** Lines beyond this many unwritten bytes are lost. */
const MAX_WAITING_BYTES = 8 << 20;
/** With more than this waiting whoever can wait should. */
const BUSY_BYTES = 1 << 20;
/** When a full pipe is tried again: soon, as it is small, and later when its reader sleeps. */
const FIRST_BUSY_MS = 1;
const MAX_BUSY_MS = 50;
const NEWLINE = 0x0a;
const TOO_SLOW = "it is not written as fast as it grows";

type WriteDone = (error: NodeJS.ErrnoException | null, written: number) => void;

export interface LineTarget {
  /** Writes what it can of `bytes`, and says how much that was; calls back in a later turn or at once. */
  write(bytes: Buffer, done: WriteDone): void;
  /** After a write that failed within a line: what there is of that line is taken back, if that can be done. */
  takeBack?(bytes: number): void;
}

export interface LineWriterOptions {
  target: LineTarget;
  format(line: LogLine): string;
  /** A problem begins. */
  onProblem?(problem: string): void;
  /** How long a target that failed is left alone. Default: 1,000. */
  retryMs?: number;
}

/** Lines that go out in one write. They are bytes from the first: text that waits costs twice what it has. */
interface Batch {
  room: Buffer;
  length: number;
  /** Of each line. */
  names: string[];
  /** 1 for a line; for a line that stands for others, minus their number. */
  weights: number[];
}

interface Writing extends Batch {
  /** What is not written yet. */
  bytes: Buffer;
  /** What is written of a line that is not written whole. */
  cutBytes: number;
}

function weightOf({ lost }: LogLine): number {
  return lost === undefined ? 1 : -lost;
}

export class LineWriter {
  /** Why lines are lost at present; null when none are. */
  problem: string | null = null;
  /** Lines that were lost so far. */
  linesLost = 0;
  private readonly untold = new Map<string, number>();
  private waiting: Batch[] = [];
  private waitingBytes = 0;
  /** Of the batch that was written last. */
  private spare: Buffer | undefined;
  private writing: Writing | undefined;
  private retry: NodeJS.Timeout | undefined;
  private settled: (() => void)[] = [];
  private busyMs = FIRST_BUSY_MS;
  private isClosed = false;

  constructor(private readonly options: LineWriterOptions) {}

  /** Lines come faster than they are written. While nothing can be written it is no use to wait. */
  get isBusy(): boolean {
    return this.waitingBytes > BUSY_BYTES && this.problem === null;
  }

  add(lines: readonly LogLine[]): void {
    if (this.isClosed) return;
    for (const line of lines) {
      if (this.retry !== undefined || this.waitingBytes > MAX_WAITING_BYTES) {
        this.lose(line.name, weightOf(line));
        if (this.retry === undefined) this.say(TOO_SLOW);
      } else {
        this.tellLost();
        this.push(line);
      }
    }
    this.start();
  }

  /** Resolves when all is written, or cannot be, or after `deadlineMs`; takes no more lines. */
  close(deadlineMs: number): Promise<void> {
    this.isClosed = true;
    if (this.retry !== undefined) {
      // The last try, so that what is lost is told.
      clearTimeout(this.retry);
      this.retry = undefined;
      this.tellLost();
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
    const text = `${this.options.format(line)}\n`;
    const size = Buffer.byteLength(text);
    let batch = this.waiting.at(-1);
    if (batch === undefined || batch.length + size > batch.room.length) {
      batch = { room: this.roomFor(size), length: 0, names: [], weights: [] };
      this.waiting.push(batch);
    }
    batch.length += batch.room.write(text, batch.length);
    batch.names.push(line.name);
    batch.weights.push(weightOf(line));
    this.waitingBytes += size;
  }

  private roomFor(size: number): Buffer {
    const { spare } = this;
    if (spare === undefined || size > BATCH_BYTES) return Buffer.allocUnsafeSlow(Math.max(size, BATCH_BYTES));
    this.spare = undefined;
    return spare;
  }

  /** Neither written nor to be written any more. */
  private release({ room }: Batch): void {
    this.writing = undefined;
    if (room.length === BATCH_BYTES) this.spare = room;
  }

  private tellLost(): void {
    if (this.untold.size === 0) return;
    const at = Date.now();
    const why = `the log could not be written${this.problem === null ? "" : `: ${this.problem}`}`;
    const untold = [...this.untold];
    this.untold.clear();
    for (const [name, lost] of untold) this.push({ sequence: 0, at, name, text: lostText(lost, why), lost });
  }

  private lose(name: string, weight: number): void {
    if (weight > 0) this.linesLost += weight;
    this.untold.set(name, (this.untold.get(name) ?? 0) + Math.abs(weight));
  }

  private start(): void {
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

  /** Forgets the lines that are written whole, and the part of the next one that is. */
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
    if (this.waiting.length === 0 && this.untold.size > 0) this.tellLost();
    if (this.untold.size === 0 && this.waitingBytes < MAX_WAITING_BYTES / 2) this.problem = null;
    this.start();
  }

  private failed({ message }: Error): void {
    const batch = this.writing as Writing;
    this.release(batch);
    if (batch.cutBytes > 0) this.options.target.takeBack?.(batch.cutBytes);
    // What waits is kept: it may be all that a disk that was full for a moment costs.
    for (const [at, name] of batch.names.entries()) this.lose(name, batch.weights[at] as number);
    this.say(message);
    if (this.isClosed) {
      this.waiting = [];
      return this.start();
    }
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.tellLost();
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
