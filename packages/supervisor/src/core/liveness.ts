/** Decides who is asked for a sign of life, who is stalled, and who is hung. Pure: silence is counted in ticks of the caller. */

/** A process that is watched: one that is ready, with what is known of it. */
export interface Watched {
  /** Such as `web.3#7`. */
  readonly id: string;
  readonly pool: string;
  /** It has requests, so it is expected to report each second. */
  readonly isBusy: boolean;
  /** 0: it is asked, and shown as stalled, but never hung. */
  readonly hangAfterMs: number;
}

interface StallCounter {
  /** Since it was last heard. */
  silentMs: number;
  /** Since it was asked; null while it is not. */
  unansweredMs: number | null;
  /** An unanswered question counts as a stall after this long. */
  stalledAfterMs: number;
}

/** A busy process that has not reported for this long is asked. */
const ASK_BUSY_AFTER_MS = 2000;
/** An idle one sleeps, and is asked only so often. */
const ASK_IDLE_EVERY_MS = 10_000;
/** A gap between two ticks counts as no more than so many times what was planned: then the caller or the whole machine stood still. */
const MAX_TICK = 1.5;
/** A question that has gone unanswered for this long is told of. */
const STALLED_AFTER_MS = 2000;

export class Liveness {
  private readonly stallCounts = new Map<string, StallCounter>();
  private tickedAtMs: number | undefined;

  /** Something came from this process: its event loop has turned. */
  heard(id: string): void {
    const stallCount = this.stallCounts.get(id);
    if (stallCount === undefined) return;
    stallCount.silentMs = 0;
    stallCount.unansweredMs = null;
  }

  /**
   * Counts the time since the last tick as silence of all that are watched, and answers with those to ask now.
   * @param nowMs of a monotonic clock
   * @param plannedMs what should have passed since the last tick
   */
  tick(nowMs: number, watched: readonly Watched[], plannedMs = 1000): string[] {
    const elapsedMs = Math.min(nowMs - (this.tickedAtMs ?? nowMs), MAX_TICK * plannedMs);
    this.tickedAtMs = nowMs;
    const ids = new Set(watched.map(({ id }) => id));
    for (const id of this.stallCounts.keys()) if (!ids.has(id)) this.stallCounts.delete(id);
    const toAsk: string[] = [];
    for (const { id, isBusy, hangAfterMs } of watched) {
      const stallCount = this.stallCounts.get(id) ?? { silentMs: 0, unansweredMs: null, stalledAfterMs: 0 };
      this.stallCounts.set(id, stallCount);
      stallCount.stalledAfterMs = hangAfterMs === 0 ? STALLED_AFTER_MS : Math.min(STALLED_AFTER_MS, hangAfterMs / 2);
      stallCount.silentMs += elapsedMs;
      if (stallCount.unansweredMs !== null) {
        stallCount.unansweredMs += elapsedMs;
        continue;
      }
      const everyMs = isBusy ? ASK_BUSY_AFTER_MS : ASK_IDLE_EVERY_MS;
      if (stallCount.silentMs < (hangAfterMs === 0 ? everyMs : Math.min(everyMs, hangAfterMs))) continue;
      stallCount.unansweredMs = 0;
      toAsk.push(id);
    }
    return toAsk;
  }

  /** For how long a question has gone unanswered; null while it is no longer than usual. */
  stalledMs(id: string): number | null {
    const stallCount = this.stallCounts.get(id);
    if (stallCount === undefined || stallCount.unansweredMs === null) return null;
    return stallCount.unansweredMs >= stallCount.stalledAfterMs ? stallCount.unansweredMs : null;
  }

  /** Whether each of them has only to be asked now and then: none is expected to report, or has yet to answer. */
  isQuiet(watched: readonly Watched[]): boolean {
    return !watched.some(({ id, isBusy }) => isBusy || this.stallCounts.get(id)?.unansweredMs !== null);
  }

  /** Whether any may be hung; `hung` then says which, once all that had come was read. */
  hasOverdue(watched: readonly Watched[]): boolean {
    return watched.some((each) => this.isOverdue(each));
  }

  /**
   * Those to be killed: of each pool the one that has been silent for longest, and none while another slot of it is coming back. A
   * machine that is overloaded has silent instances too, and must not lose all of them at once.
   * @param isRecovering whether a slot of that pool was ready once and is not now
   */
  hung(watched: readonly Watched[], isRecovering: (pool: string) => boolean): string[] {
    const longest = new Map<string, Watched>();
    for (const each of watched) {
      if (!this.isOverdue(each) || isRecovering(each.pool)) continue;
      const other = longest.get(each.pool);
      if (other === undefined || this.unansweredMs(each.id) > this.unansweredMs(other.id)) longest.set(each.pool, each);
    }
    return [...longest.values()].map(({ id }) => id);
  }

  /** For how long its question has gone unanswered. */
  unansweredMs(id: string): number {
    return this.stallCounts.get(id)?.unansweredMs ?? 0;
  }

  private isOverdue({ id, hangAfterMs }: Watched): boolean {
    return hangAfterMs > 0 && this.unansweredMs(id) >= hangAfterMs;
  }
}
