/** How fast an upstream responds, as a mean that rises at once and falls slowly, also while nothing is measured. Pure. */

/** A latency counts for a third after this time, in milliseconds. */
const DECAY_MS = 10_000;

export class PeakLatency {
  private value = 0;
  private at = 0;

  /** @param clock in milliseconds */
  constructor(private readonly clock: { readonly now: number }) {}

  /** Counts the time until the head of a response. One that failed never makes an upstream look faster. */
  observe(milliseconds: number, isGood = true): void {
    const { now } = this.clock;
    const mean = this.ms;
    if (!isGood && milliseconds < mean) {
      this.value = mean;
      this.at = now;
      return;
    }
    const kept = Math.exp((this.at - now) / DECAY_MS);
    this.value = milliseconds >= mean ? milliseconds : mean * kept + milliseconds * (1 - kept);
    this.at = now;
  }

  /** In milliseconds; 0 if nothing was measured for long. */
  get ms(): number {
    return this.value * Math.exp((this.at - this.clock.now) / DECAY_MS);
  }
}
