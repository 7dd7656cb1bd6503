/**
 * Which event loops are free to begin a request that takes long. Nothing reports what a handler does after it has waited, over HTTP/1.1
 * not even that it has returned, and nobody reports requests of balancers that do not share counts: only a look at the instance
 * shows that it is at work. Pure.
 */

/** How many are looked at for one pick: a look costs some microseconds. */
const MAX_LOOKS = 4;
/** An instance has hardly begun a request that was sent this recently, so its event loop is about to run. In milliseconds. */
const ABOUT_TO_RUN_MS = 1;
/** After how many milliseconds a request looks again that waits for an event loop, or for a request of another balancer to end. */
export const LOOK_AGAIN_MS = 1;
/** The same for one that has waited for so long that only held upstreams are left. */
export const LOOK_AGAIN_LATE_MS = 16;

interface WatchedUpstream {
  readonly inFlight: number;
  /** Its requests, of all balancers as far as they are known. */
  readonly load: number;
  readonly isLoopRunning: boolean;
  /** When it was picked last, in milliseconds. */
  pickedAtMs: number;
}

export class FreeLoops {
  private looks = 0;
  private nowMs = 0;
  private isShared = false;

  /** Begins a pick. @param isShared whether other balancers send requests to the upstreams of which nothing is known */
  begin(nowMs: number, isShared: boolean): void {
    this.nowMs = nowMs;
    this.isShared = isShared;
    this.looks = MAX_LOOKS;
  }

  /** Whether its event loop is free, or nobody looked. */
  isFree(upstream: WatchedUpstream): boolean {
    if (upstream.load === 0 && !this.isShared) return true;
    if (upstream.inFlight > 0 && this.nowMs - upstream.pickedAtMs < ABOUT_TO_RUN_MS) return false;
    if (this.looks === 0) return true;
    this.looks--;
    return !upstream.isLoopRunning;
  }

  picked<Picked extends WatchedUpstream>(upstream: Picked): Picked {
    upstream.pickedAtMs = this.nowMs;
    return upstream;
  }
}
