/** Gives up clients that send nothing of a body while it is waited for. What holds the body back on our side costs them nothing. */

const MAX_LOOK_MS = 1000;

/** A body: in the set while a piece of it is waited for. */
export interface BodyWait<Owner> {
  readonly owner: Owner;
  /** Since when the next piece is waited for. */
  since: number;
}

export class BodyWaits<Owner> {
  private readonly waits = new Set<BodyWait<Owner>>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    readonly timeoutMs: number,
    /** No piece of its body has come for that long. */
    private readonly onLate: (owner: Owner) => void,
  ) {}

  /** A piece is waited for from now on. */
  begin(wait: BodyWait<Owner>): void {
    wait.since = performance.now();
    this.waits.add(wait);
    this.timer ??= setInterval(() => this.look(), Math.min(MAX_LOOK_MS, this.timeoutMs));
  }

  end(wait: BodyWait<Owner>): void {
    this.waits.delete(wait);
  }

  private look(): void {
    const late = performance.now() - this.timeoutMs;
    for (const wait of this.waits) {
      if (wait.since > late) continue;
      this.waits.delete(wait);
      this.onLate(wait.owner);
    }
    if (this.waits.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
