/** Decides when a child reports: by default each second while there is activity, and otherwise rarely to save resources. */
import { LoopLag } from "../proc/own-process.js";

const LOOK_EVERY_MS = 1000;
/** An idle process reports once in this many checks, because its memory may change. */
const QUIET_LOOKS = 10;
/** How often a sleeping process checks and reports, in milliseconds. */
const ASLEEP_LOOK_EVERY_MS = 60_000;
/** A delay of the event loop from which on it is reported, in milliseconds. */
const LAG_WORTH_REPORTING_MS = 50;
/** Less activity, of about 1,000 requests, leaves too little memory behind for `onRest`. */
const MUCH_ACTIVITY = 2000;
/** The least time between two calls of `onRest`, in milliseconds. */
const REST_EVERY_MS = 10_000;

/** The reporter's own measurements. */
export interface Measured {
  /** The longest period that the new counts can cover, in milliseconds. */
  periodMs: number;
  /** The longest delay of the event loop since the last report, in milliseconds. */
  eventLoopLagMs: number;
}

interface ReporterOptions {
  /** A number that changes with everything that should be reported while nothing is in flight. */
  activity(): number;
  /** The number of requests in flight. While there are any, a report is sent each second. */
  inFlight(): number;
  /** Calls `wake` once at the next activity. An idle process sleeps until then. */
  onNext?(wake: () => void): void;
  /** Sends a report. Returns false if it could not be sent; the next one then includes it. */
  report(measured: Measured): boolean;
  /** Called when much activity has ended, so that its memory can be freed. */
  onRest?(): void;
  /** The time between two checks, in milliseconds. Default: 1,000. */
  everyMs?: number | undefined;
}

/**
 * Checks each second. After the last second with activity, it sends one more report, which shows that the activity has ended. Only during
 * activity is the event loop monitored closely. At other times its delay is derived from how late a check runs, which is short by at most
 * one interval.
 */
export class Reporter {
  private timer: NodeJS.Timeout | undefined;
  private readonly awakeMs: number;
  private everyMs: number;
  private lag: LoopLag | undefined;
  private lastActivity = 0;
  /** Whether the last report had news. */
  private hadNews = true;
  private quietLooks = 0;
  private lookedAtMs = 0;
  private sinceMs = 0;
  private worstLagMs = 0;
  /** The activity at the last call of `onRest`, and its time. */
  private restedActivity = 0;
  private restedAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: ReporterOptions) {
    this.awakeMs = this.everyMs = options.everyMs ?? LOOK_EVERY_MS;
  }

  /** Starts reporting. */
  start(): void {
    this.lookEvery(this.awakeMs);
  }

  /** Reports now, for example before an exit. */
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

  /** The only work of an idle process. It is kept small, because code that runs often is compiled, which takes memory. */
  private look(): void {
    const now = performance.now();
    const lateMs = now - this.lookedAtMs - this.everyMs;
    this.lookedAtMs = now;
    const activity = this.options.activity();
    const quiet = !this.hadNews && activity === this.lastActivity && lateMs < LAG_WORTH_REPORTING_MS;
    if (quiet && this.everyMs === this.awakeMs && ++this.quietLooks < QUIET_LOOKS) this.sinceMs = now;
    else this.lookClosely(now, lateMs, activity);
  }

  private lookClosely(now: number, lateMs: number, activity: number): void {
    this.worstLagMs = Math.max(this.worstLagMs, this.lag?.takeMs() ?? 0, Math.round(lateMs * 10) / 10);
    const busy = activity !== this.lastActivity || this.options.inFlight() > 0;
    this.watchLag(busy);
    const news = busy || this.worstLagMs >= LAG_WORTH_REPORTING_MS;
    if (!this.send(now, activity)) return;
    this.hadNews = news;
    if (!news) this.rest(now, activity);
    if (!news && this.options.onNext !== undefined && this.everyMs === this.awakeMs) this.sleep();
  }

  private rest(now: number, activity: number): void {
    if (activity - this.restedActivity < MUCH_ACTIVITY || now - this.restedAtMs < REST_EVERY_MS) return;
    this.restedActivity = activity;
    this.restedAtMs = now;
    this.options.onRest?.();
  }

  private send(now: number, activity: number): boolean {
    const sent = this.options.report({ periodMs: Math.round(now - this.sinceMs), eventLoopLagMs: this.worstLagMs });
    // If the report was not sent, the next one has the same figures.
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
