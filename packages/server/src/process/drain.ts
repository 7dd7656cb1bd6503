/** Stops a server without losing requests in flight, within a deadline. */

import type { RunningServer } from "../http1/running-server.js";
import { leaveWork, unfinishedWork } from "../shared/bridge.js";

/** The interval at which a draining server checks for the end, in milliseconds; Bun has no event for it. */
const LOOK_EVERY_MS = 10;

interface DrainOptions {
  /** The time until the drain ends in any case, in milliseconds. */
  deadlineMs: number;
  /** Whether the drain also waits for `release()`; the server accepts until then. */
  untilReleased: boolean;
  /** Called once, at the end, with the number of requests still in flight. */
  onEnd(cut: number): void;
}

/**
 * A running drain: responses carry `Connection: close`. It ends when no request is in flight, no deferred job is queued and no timer is
 * running. Timers stop when it starts.
 */
export class Drain {
  private readonly timer: NodeJS.Timeout;
  private deadlineAtMs: number;
  private accepting = true;
  /** The number of further checks after the server has stopped accepting, so that requests that are still in the sockets are read. */
  private looksLeft = 2;

  constructor(
    private readonly server: RunningServer,
    private readonly options: DrainOptions,
  ) {
    this.deadlineAtMs = performance.now() + options.deadlineMs;
    this.released = !options.untilReleased;
    server.markResponsesClose();
    leaveWork();
    this.timer = setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  private released: boolean;

  /** The time until the deadline in milliseconds, at least 0. */
  get remainingMs(): number {
    return Math.max(0, this.deadlineAtMs - performance.now());
  }

  /** Called when no more requests can arrive. */
  release(): void {
    this.released = true;
  }

  /** Stops waiting for a release, and moves the deadline to an earlier one. */
  hasten(deadlineMs: number): void {
    this.deadlineAtMs = Math.min(this.deadlineAtMs, performance.now() + deadlineMs);
    this.release();
  }

  private look(): void {
    const inFlight = this.server.inFlight();
    if (performance.now() >= this.deadlineAtMs) {
      this.end(inFlight);
      return;
    }
    if (!this.released || this.looksLeft-- > 0) return;
    if (this.accepting) {
      this.accepting = false;
      this.server.stopAccepting();
      return;
    }
    if (inFlight === 0 && unfinishedWork() === 0) this.end(0);
  }

  private end(cut: number): void {
    clearInterval(this.timer);
    this.options.onEnd(cut);
  }
}
