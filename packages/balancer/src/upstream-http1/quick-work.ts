/** Whether an instance usually finishes its work soon after a response, so that its next request need not wait for its report. */

/** Work that takes longer is not quick, in milliseconds. An instance may also be off the CPU meanwhile. */
const QUICK_MS = 50;
/** How many works in a row must be quick. */
const MIN_QUICK = 8;
/** How many requests then follow without a report, before another one must prove it. */
const MAX_UNPROVEN = 16;

/** Serves one place: an instance with one request at a time. */
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
