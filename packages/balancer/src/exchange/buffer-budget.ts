/** What the balancer may hold in memory for all slow clients together. */
export class BufferBudget {
  private used = 0;

  constructor(private readonly maxBytes: number) {}

  /** False: there is not so much left, and nothing is taken. `isForced`: it is taken all the same. */
  take(bytes: number, isForced = false): boolean {
    if (!isForced && this.used + bytes > this.maxBytes) return false;
    this.used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.used -= bytes;
  }
}
