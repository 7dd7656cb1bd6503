/** Ends a server without losing what is in flight, within a deadline. */

import type { RunningServer } from "../http1/running-server.js";
import { leaveWork, unfinishedWork } from "../shared/bridge.js";

/** How often a draining server looks whether all has left; Bun tells it no other way. */
const LOOK_EVERY_MS = 10;

interface DrainOptions {
  /** Milliseconds from now until the drain ends all the same. */
  deadlineMs: number;
  /** The drain also waits for `release()`, and goes on accepting until then. */
  untilReleased: boolean;
  /** Called once, at the end; `cut` requests were still in flight. */
  onEnd(cut: number): void;
}

/**
 * A drain under way: answers carry `Connection: close`, and it ends when nothing is in flight any more, no deferred job waits
 * and no timer's run is under way. Timers stop as it begins.
 */
export class Drain {
  private readonly timer: NodeJS.Timeout;
  private deadlineAtMs: number;
  private accepting = true;
  /** Looks that must still go by, so that what the sockets hold when accepting ends has been read. */
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

  /** Milliseconds until the deadline, at least 0. */
  get remainingMs(): number {
    return Math.max(0, this.deadlineAtMs - performance.now());
  }

  /** Nobody can send it a request any more. */
  release(): void {
    this.released = true;
  }

  /** No longer waits for a release, and ends by this deadline if it is the earlier one. */
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
