/** A request whose upstream may still work on it, although its response is complete or nobody waits for one any more. */
import type { OverdueRequest } from "@paceline/wire";

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
  ) {}

  /** Whether nothing has been received since. */
  get isSilent(): boolean {
    return this.bytes === 0;
  }

  overdue(now: number): OverdueRequest {
    return { request: this.describe(), forMs: now - this.owedSince };
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
