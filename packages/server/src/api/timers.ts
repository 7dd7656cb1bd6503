/** Repeated and delayed work. */
import { MAX_TIMER_MS } from "@paceline/wire/limits";
import { backgroundWork, countNames, nameOf, type TimerWork, type WaitingTimer } from "../shared/bridge.js";
import { ServerError } from "../shared/errors.js";

export interface Timer {
  /** Prevents further runs; a current run continues. */
  stop(): void;
}

/**
 * Runs `fn` every `intervalMs`, first after one interval. An awaited run may exceed the interval; the missed ones are skipped. An
 * error is logged, and the timer continues.
 *
 * @throws ServerError `bad-argument` if the interval is not a number of milliseconds from 1 to 2147483647
 */
export function every(intervalMs: number, fn: () => unknown): Timer {
  check("an interval", intervalMs, 1, fn);
  return new RunningTimer(intervalMs, fn, true);
}

/**
 * Runs `fn` once, after `delayMs`. An error is logged.
 *
 * @throws ServerError `bad-argument` if the delay is not a number of milliseconds from 0 to 2147483647
 */
export function after(delayMs: number, fn: () => unknown): Timer {
  check("a delay", delayMs, 0, fn);
  return new RunningTimer(delayMs, fn, false);
}

function check(what: string, ms: number, least: number, fn: unknown): void {
  if (typeof fn !== "function")
    throw new ServerError("bad-argument", `the callback of a timer must be a function, not ${fn}`);
  if (typeof ms === "number" && ms >= least && ms <= MAX_TIMER_MS) return;
  throw new ServerError(
    "bad-argument",
    `${what} must be a number of milliseconds from ${least} to ${MAX_TIMER_MS}, not ${ms}`,
  );
}

class RunningTimer implements Timer, WaitingTimer {
  private readonly handle: NodeJS.Timeout | undefined;
  private readonly timers: TimerWork;
  private isUnderWay = false;

  constructor(
    ms: number,
    private readonly fn: () => unknown,
    private readonly repeats: boolean,
  ) {
    const work = backgroundWork();
    work.timers ??= new Timers();
    this.timers = work.timers;
    if (work.isLeaving) return;
    this.timers.add(this);
    this.handle = repeats ? setInterval(this.run, ms) : setTimeout(this.run, ms);
    // The server keeps the process alive; in a test of the app a timer must not.
    this.handle.unref();
  }

  get name(): string {
    return nameOf(this.fn);
  }

  stop(): void {
    // Works for both kinds of timers on both runtimes.
    clearInterval(this.handle);
    this.timers.remove(this);
  }

  private readonly run = async (): Promise<void> => {
    if (this.isUnderWay) return;
    this.isUnderWay = true;
    this.timers.started(this);
    try {
      await this.fn();
    } catch (error) {
      console.error(`the timer ${this.name} failed:`, error);
    }
    this.isUnderWay = false;
    this.timers.ended(this);
    if (!this.repeats) this.timers.remove(this);
  };
}

/** All timers of the process. */
class Timers implements TimerWork {
  private readonly waiting = new Set<WaitingTimer>();
  private readonly underWay = new Set<WaitingTimer>();

  get unfinished(): number {
    return this.underWay.size;
  }

  stop(): void {
    for (const timer of this.waiting) timer.stop();
  }

  describe(): string {
    return `timers are cut off under way: ${countNames([...this.underWay].map(({ name }) => name))}`;
  }

  add(timer: WaitingTimer): void {
    this.waiting.add(timer);
  }

  remove(timer: WaitingTimer): void {
    this.waiting.delete(timer);
  }

  started(timer: WaitingTimer): void {
    this.underWay.add(timer);
  }

  ended(timer: WaitingTimer): void {
    this.underWay.delete(timer);
  }
}
