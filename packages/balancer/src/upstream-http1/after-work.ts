/** Work that an upstream still does after a response, or for a request that nobody waits for any more, and whether it usually ends soon. */
import type { OverdueRequest } from "@paceline/wire";

/** Work that takes longer is not quick, in milliseconds. An instance may also be off the CPU meanwhile. */
const QUICK_MS = 50;
/** How many works in a row must be quick. */
const MIN_QUICK = 8;
/** How many requests then follow without a report, before another one must prove it. */
const MAX_UNPROVEN = 16;

/** Whether an instance usually ends its work soon, so that its next request need not wait for its report. It has one request at a time. */
export class QuickWork {
  private startedAt = 0;
  private quick = 0;
  private unproven = MAX_UNPROVEN;

  constructor(private readonly clock: () => number = () => performance.now()) {}

  /** The response is complete, and the instance works on. */
  start(): void {
    this.startedAt = this.clock();
  }

  /** It has reported that it is done, and the report was read at once. */
  finish(): void {
    this.unproven = 0;
    this.quick = this.isQuick ? this.quick + 1 : 0;
  }

  /** Whether work usually ends soon. */
  get isUsuallyQuick(): boolean {
    return this.quick >= MIN_QUICK && this.unproven < MAX_UNPROVEN;
  }

  /** Whether work that has started will probably end soon. */
  get endsSoon(): boolean {
    return this.isUsuallyQuick && this.isQuick;
  }

  /** A request was sent without a report. */
  follow(): void {
    this.unproven++;
  }

  private get isQuick(): boolean {
    return this.clock() - this.startedAt < QUICK_MS;
  }
}

/** How many bytes of an unwanted response are read, so that the upstream can finish it, before the connection is closed. */
const MAX_UNWANTED_BYTES = 4 << 20;

/** The message of an instance that is done with a request: an interim response, which other clients ignore. */
export const DONE_BYTES = "HTTP/1.1 100 Continue\r\n\r\n".length;

export class AbandonedRequest {
  /** The number of bytes received since. */
  private bytes = 0;

  constructor(
    readonly describe: () => string,
    /** Since when its end is due, in milliseconds of `Deadlines.now`. */
    private readonly owedSince: number,
    /** When it was sent, by performance.now(): of the requests of several balancers, the first one ran. */
    private readonly sentAt = Number.NEGATIVE_INFINITY,
  ) {}

  /** Whether nothing has been received since. */
  get isSilent(): boolean {
    return this.bytes === 0;
  }

  /** Returns for how many milliseconds its end has been due. */
  owedFor(now: number): number {
    return now - this.owedSince;
  }

  overdue(now: number): OverdueRequest {
    return { request: this.describe(), forMs: Math.min(this.owedFor(now), performance.now() - this.sentAt) };
  }

  /** Counts bytes of the unwanted response. Returns false if they are too many: an upstream may ignore FIN for ever. */
  takeUnwanted(count: number): boolean {
    this.bytes += count;
    return this.bytes <= MAX_UNWANTED_BYTES;
  }

  /** Counts bytes after the complete response. */
  takeDone(count: number): "partial" | "done" | "unexpected" {
    this.bytes += count;
    if (this.bytes === DONE_BYTES) return "done";
    return this.bytes < DONE_BYTES ? "partial" : "unexpected";
  }
}
