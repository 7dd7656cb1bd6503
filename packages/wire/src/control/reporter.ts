/** Decides when a child reports: each second, unless told otherwise, while something happens, and rarely while nothing does, so that idling is cheap. */
import { LoopLag } from "../proc/own-process.js";

const LOOK_EVERY_MS = 1000;
/** A process to which nothing happens reports at each of so many looks: memory of its own accord may change too. */
const QUIET_LOOKS = 10;
/** A process that is woken looks, and reports, only so often while it sleeps. */
const ASLEEP_LOOK_EVERY_MS = 60_000;
/** A process that was held up for this long has something to tell. */
const LAG_WORTH_TELLING_MS = 50;

/** What the reporter measured itself, for the report. */
export interface Measured {
  /** How long what came since the last report took at most, in milliseconds: since the last look that found nothing new. */
  periodMs: number;
  /** The longest delay of the event loop since the last report, in milliseconds. */
  eventLoopLagMs: number;
}

export interface ReporterOptions {
  /** A number that grows with everything that is worth a report while nothing is in flight. */
  activity(): number;
  /** Requests under way; while there are any, each second is reported. */
  inFlight(): number;
  /** Has `wake` called at the next activity, once. With it a process to which nothing happens sleeps until then. */
  onNext?(wake: () => void): void;
  /** Sends a report; false when it could not go out, and then the next one tells the same and more. */
  report(measured: Measured): boolean;
  /** The time between two looks, in milliseconds; default 1,000. */
  everyMs?: number | undefined;
}

/**
 * Looks each second. After the last second in which something happened comes one report more, which says that nothing
 * does any longer. The event loop is watched closely only while something happens; else a look that comes late tells that
 * it was held up, short by at most the time between two looks.
 */
export class Reporter {
  private timer: NodeJS.Timeout | undefined;
  private readonly awakeMs: number;
  private everyMs: number;
  private lag: LoopLag | undefined;
  private lastActivity = 0;
  /** Whether the last report told of something. */
  private toldNews = true;
  private quietLooks = 0;
  private lookedAtMs = 0;
  private sinceMs = 0;
  private worstLagMs = 0;

  constructor(private readonly options: ReporterOptions) {
    this.awakeMs = this.everyMs = options.everyMs ?? LOOK_EVERY_MS;
  }

  /** From now on there are reports. */
  start(): void {
    this.lookEvery(this.awakeMs);
  }

  /** Reports now, as before an exit. */
  reportNow(): void {
    this.send(performance.now(), this.options.activity());
  }

  stop(): void {
    clearInterval(this.timer);
    this.watchLag(false);
  }

  private lookEvery(ms: number): void {
    clearInterval(this.timer);
    this.everyMs = ms;
    this.lookedAtMs = this.sinceMs = performance.now();
    this.timer = setInterval(() => this.look(), ms);
    this.timer.unref();
  }

  private sleep(): void {
    this.lookEvery(ASLEEP_LOOK_EVERY_MS);
    this.options.onNext?.(() => {
      this.lookEvery(this.awakeMs);
      this.watchLag(true);
    });
  }

  /** All that an idle process does, so it is kept small: what runs often is compiled, and that costs memory. */
  private look(): void {
    const now = performance.now();
    const lateMs = now - this.lookedAtMs - this.everyMs;
    this.lookedAtMs = now;
    const activity = this.options.activity();
    const quiet = !this.toldNews && activity === this.lastActivity && lateMs < LAG_WORTH_TELLING_MS;
    if (quiet && this.everyMs === this.awakeMs && ++this.quietLooks < QUIET_LOOKS) this.sinceMs = now;
    else this.lookClosely(now, lateMs, activity);
  }

  private lookClosely(now: number, lateMs: number, activity: number): void {
    this.worstLagMs = Math.max(this.worstLagMs, this.lag?.takeMs() ?? 0, Math.round(lateMs * 10) / 10);
    const busy = activity !== this.lastActivity || this.options.inFlight() > 0;
    this.watchLag(busy);
    const news = busy || this.worstLagMs >= LAG_WORTH_TELLING_MS;
    if (!this.send(now, activity)) return;
    this.toldNews = news;
    if (!news && this.options.onNext !== undefined && this.everyMs === this.awakeMs) this.sleep();
  }

  private send(now: number, activity: number): boolean {
    const sent = this.options.report({ periodMs: Math.round(now - this.sinceMs), eventLoopLagMs: this.worstLagMs });
    // What could not be said is news still.
    if (!sent) return false;
    this.lastActivity = activity;
    this.sinceMs = now;
    this.worstLagMs = 0;
    this.quietLooks = 0;
    return true;
  }

  private watchLag(wanted: boolean): void {
    if (wanted === (this.lag !== undefined)) return;
    this.lag?.stop();
    this.lag = wanted ? new LoopLag() : undefined;
  }
}
