/** Work that an upstream still does after a response, or for an abandoned request, and whether it usually ends soon. */
import type { OverdueRequest } from "@paceline/wire";

/** Work up to this time is quick, in milliseconds. The time includes pauses of the instance off the CPU. */
const QUICK_MS = 50;
/** How many pieces of work in a row must be quick. */
const MIN_QUICK = 8;
/** If work is usually quick, this many requests may follow without a report. Then another report is needed as proof. */
const MAX_UNPROVEN = 16;

/** Whether an instance with one request at a time usually ends its work soon. Its next request then need not wait for the report. */
export class QuickWork {
  private startedAt = 0;
  private quick = 0;
  private unproven = MAX_UNPROVEN;

  constructor(private readonly clock: () => number = () => performance.now()) {}

  /** Called when the response is complete and the instance continues to work. */
  start(): void {
    this.startedAt = this.clock();
  }

  /** Called when the instance has reported that it is done, and the report was read at once. */
  finish(): void {
    this.unproven = 0;
    this.quick = this.isQuick ? this.quick + 1 : 0;
  }

  /** Whether the work usually ends soon. */
  get isUsuallyQuick(): boolean {
    return this.quick >= MIN_QUICK && this.unproven < MAX_UNPROVEN;
  }

  /** Whether the current work will probably end soon. */
  get endsSoon(): boolean {
    return this.isUsuallyQuick && this.isQuick;
  }

  /** Called when a request was sent without a report. */
  follow(): void {
    this.unproven++;
  }

  private get isQuick(): boolean {
    return this.clock() - this.startedAt < QUICK_MS;
  }
}

/** How many bytes of an unwanted response are read before the connection is closed, so that the upstream can finish it. */
const MAX_UNWANTED_BYTES = 4 << 20;

/**
 * The length of the message with which an instance reports that it is done with a request: an interim response, which other clients ignore.
 */
export const DONE_BYTES = "HTTP/1.1 100 Continue\r\n\r\n".length;

export class AbandonedRequest {
  /** The number of bytes received since the request was abandoned, or since its response was complete. */
  private bytes = 0;

  constructor(
    readonly describe: () => string,
    /** Since when the end of the work is due, in milliseconds of `Deadlines.now`. */
    private readonly owedSince: number,
    /** When the request was sent, by performance.now(). If several balancers have sent requests, the first one counts. */
    private readonly sentAt = Number.NEGATIVE_INFINITY,
  ) {}

  /** Whether nothing has been received since the request was abandoned. */
  get hasReceivedNothing(): boolean {
    return this.bytes === 0;
  }

  /** Returns for how long the end of the work has been due, in milliseconds. */
  owedFor(now: number): number {
    return now - this.owedSince;
  }

  overdue(now: number): OverdueRequest {
    return { request: this.describe(), forMs: Math.min(this.owedFor(now), performance.now() - this.sentAt) };
  }

  /** Counts bytes of the unwanted response. Returns false if there are too many: an upstream may ignore FIN forever. */
  takeUnwanted(count: number): boolean {
    this.bytes += count;
    return this.bytes <= MAX_UNWANTED_BYTES;
  }

  /** Counts bytes after the complete response, which should be the report that the instance is done. */
  takeDone(count: number): "partial" | "done" | "unexpected" {
    this.bytes += count;
    if (this.bytes === DONE_BYTES) return "done";
    return this.bytes < DONE_BYTES ? "partial" : "unexpected";
  }
}
