/**
 * Finds event loops that are free to start a long request. Instances do not report what a handler does after it has waited, or, over
 * HTTP/1.1, that it has returned. The requests of balancers that do not share counts are unknown, too. So only the state of an instance's
 * thread shows whether the instance is working. Pure.
 */

/** How many upstreams are checked for one pick. A check costs some microseconds. */
const MAX_LOOKS = 4;
/** An instance has hardly started a request that was sent this recently, so its event loop is about to run. In milliseconds. */
const ABOUT_TO_RUN_MS = 1;
/** An instance that reported the end of a handler this recently is at the end of that turn, and still running. In milliseconds. */
const ABOUT_TO_REST_MS = 1;
/** The interval at which a request that waits for an event loop, or for the end of another balancer's request, checks again. In milliseconds. */
export const LOOK_AGAIN_MS = 1;
/** The same interval for a request that has waited so long that only held upstreams block it, in milliseconds. */
export const LOOK_AGAIN_LATE_MS = 16;

interface WatchedUpstream {
  readonly inFlight: number;
  /** The number of its requests, of all balancers as far as they are known. */
  readonly load: number;
  readonly isLoopRunning: boolean;
  /** When it last reported that a handler has returned, in milliseconds. */
  readonly returnedAtMs: number;
  /** The time of its last pick, in milliseconds. */
  pickedAtMs: number;
}

export class FreeLoops {
  private looks = 0;
  private nowMs = 0;
  private isShared = false;

  /**
   * Starts a pick.
   * @param isShared whether unknown requests of other balancers go to the upstreams
   */
  begin(nowMs: number, isShared: boolean): void {
    this.nowMs = nowMs;
    this.isShared = isShared;
    this.looks = MAX_LOOKS;
  }

  /** Whether its event loop is free, or was not checked. */
  isFree(upstream: WatchedUpstream): boolean {
    if (upstream.load === 0 && !this.isShared) return true;
    if (upstream.inFlight > 0 && this.nowMs - upstream.pickedAtMs < ABOUT_TO_RUN_MS) return false;
    if (this.looks === 0 || this.nowMs - upstream.returnedAtMs < ABOUT_TO_REST_MS) return true;
    this.looks--;
    return !upstream.isLoopRunning;
  }

  picked<Picked extends WatchedUpstream>(upstream: Picked): Picked {
    upstream.pickedAtMs = this.nowMs;
    return upstream;
  }
}
