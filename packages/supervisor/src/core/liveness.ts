/** Decides which processes are pinged, stalled or hung. Pure: silence is measured in the caller's ticks. */

/** A watched process: one that is ready. */
export interface Watched {
  /** For example `web.3#7`. */
  readonly id: string;
  readonly pool: string;
  /** Whether the process has requests. Such a process reports each second. */
  readonly isBusy: boolean;
  /** In milliseconds; 0: the process is pinged and shown as stalled, but never counts as hung. */
  readonly hangAfterMs: number;
  /** Whether it is a canary, beside the processes in service. */
  readonly isCanary: boolean;
}

interface StallCounter {
  /** The time since its last message, in milliseconds. */
  silentMs: number;
  /** The time since the pending ping, in milliseconds; null if there is none. */
  unansweredMs: number | null;
  /** The longest time that a ping went unanswered. */
  longestMs: number;
  /** How long a ping may be unanswered before the process counts as stalled, in milliseconds. */
  stalledAfterMs: number;
}

/** A busy process that has not reported for this long is pinged. In milliseconds. */
const ASK_BUSY_AFTER_MS = 2000;
/** An idle process sleeps, so it is pinged only this often. In milliseconds. */
const ASK_IDLE_EVERY_MS = 10_000;
/** The maximum time that a gap between ticks counts, as a factor of the planned interval. After a longer gap, this process was paused. */
const MAX_TICK = 1.5;
/** A process that has not replied to a ping for this long is shown as stalled. In milliseconds. */
const STALLED_AFTER_MS = 2000;
/** A canary is hung after this fraction of its `hangAfterMs` if no process in service is or was silent for as long. */
const CANARY_PART = 1 / 3;

const NEW: StallCounter = { silentMs: 0, unansweredMs: null, longestMs: 0, stalledAfterMs: 0 };

export class Liveness {
  private readonly stallCounts = new Map<string, StallCounter>();
  private tickedAtMs: number | undefined;

  /** Records a message from this process, which proves that its event loop is turning. */
  heard(id: string): void {
    const stallCount = this.stallCounts.get(id);
    if (stallCount === undefined) return;
    stallCount.longestMs = Math.max(stallCount.longestMs, stallCount.unansweredMs ?? 0);
    stallCount.silentMs = 0;
    stallCount.unansweredMs = null;
  }

  /**
   * Adds the time since the last tick to the silence of all watched processes. Returns those that should be pinged now.
   * @param nowMs by a monotonic clock
   * @param plannedMs the planned time between two ticks
   */
  tick(nowMs: number, watched: readonly Watched[], plannedMs = 1000): string[] {
    const elapsedMs = Math.min(nowMs - (this.tickedAtMs ?? nowMs), MAX_TICK * plannedMs);
    this.tickedAtMs = nowMs;
    const ids = new Set(watched.map(({ id }) => id));
    for (const id of this.stallCounts.keys()) if (!ids.has(id)) this.stallCounts.delete(id);
    const toAsk: string[] = [];
    for (const { id, isBusy, hangAfterMs } of watched) {
      const stallCount = this.stallCounts.get(id) ?? { ...NEW };
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

  /** Returns how long a ping has gone unanswered; null while that is normal. */
  stalledMs(id: string): number | null {
    const stallCount = this.stallCounts.get(id);
    if (stallCount === undefined || stallCount.unansweredMs === null) return null;
    return stallCount.unansweredMs >= stallCount.stalledAfterMs ? stallCount.unansweredMs : null;
  }

  /** Whether all watched processes are idle and none has a pending ping. */
  isQuiet(watched: readonly Watched[]): boolean {
    return !watched.some(({ id, isBusy }) => isBusy || this.stallCounts.get(id)?.unansweredMs !== null);
  }

  /** Whether any process may be hung. The caller must read all pending messages, then call `hung`. */
  hasOverdue(watched: readonly Watched[]): boolean {
    return watched.some((each) => this.isOverdue(each, watched));
  }

  /**
   * Returns the processes to kill: the most silent one of each pool, but none while another slot of the pool recovers. On an overloaded
   * machine, healthy instances are silent too, and must not all be killed.
   * @param isRecovering whether a slot of that pool was ready once and is not ready now
   */
  hung(watched: readonly Watched[], isRecovering: (pool: string) => boolean): string[] {
    const longest = new Map<string, Watched>();
    for (const each of watched) {
      if (!this.isOverdue(each, watched) || isRecovering(each.pool)) continue;
      const other = longest.get(each.pool);
      if (other === undefined || this.unansweredMs(each.id) > this.unansweredMs(other.id)) longest.set(each.pool, each);
    }
    return [...longest.values()].map(({ id }) => id);
  }

  /** Returns how long the ping of a process has gone unanswered; 0 if none is pending. */
  unansweredMs(id: string): number {
    return this.stallCounts.get(id)?.unansweredMs ?? 0;
  }

  private isOverdue(each: Watched, watched: readonly Watched[]): boolean {
    const { id, isCanary, hangAfterMs } = each;
    if (hangAfterMs === 0) return false;
    const forMs = this.unansweredMs(id);
    return (
      forMs >= hangAfterMs || (isCanary && forMs >= CANARY_PART * hangAfterMs && this.isSilentAlone(each, watched))
    );
  }

  /** Whether the processes in service turn their event loops now, and have always responded within the time that the canary gets. */
  private isSilentAlone({ pool, hangAfterMs }: Watched, watched: readonly Watched[]): boolean {
    const limitMs = CANARY_PART * hangAfterMs;
    const inService = watched.filter((other) => other.pool === pool && !other.isCanary);
    const turns = ({ id }: Watched) =>
      this.unansweredMs(id) < limitMs / 2 && (this.stallCounts.get(id)?.longestMs ?? 0) < limitMs;
    return inService.length > 0 && inService.every(turns);
  }
}
