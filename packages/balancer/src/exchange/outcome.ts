/** What one request came to: status, bytes and time, for the counters and the access log. */
import type { Peer } from "../http1/forwarded.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { Relay } from "./relay.js";
import type { SavedHead } from "./saved-head.js";

export class Outcome {
  /** Of the response that the client gets; 0 before there is one, and once it has been counted. */
  status = 0;
  /** Of the response's body so far. */
  bodyBytes = 0;
  /** The instance that had the request last. */
  upstream: Upstream | undefined;
  private startedAt = 0;
  /** What was counted while the client was still being sent it. */
  private counted = 0;

  constructor(
    private readonly relay: Relay,
    private readonly head: SavedHead,
    private readonly peer: Peer,
  ) {}

  begin(): void {
    this.startedAt = performance.now();
    this.bodyBytes = 0;
    this.relay.counters.inFlight++;
  }

  get tookMs(): number {
    return performance.now() - this.startedAt;
  }

  /** @param upstream has it, and is done with it */
  count(upstream: Upstream | undefined): void {
    const { status, tookMs } = this;
    this.relay.counters.answered(status, tookMs);
    upstream?.answered(status, tookMs);
    this.counted = status;
    this.status = 0;
  }

  /** The client has its response, or none any more. */
  end(loggedAs: number, upstream: Upstream | undefined): void {
    const { counters, accessLog } = this.relay;
    const logged = loggedAs || this.status || this.counted;
    if (accessLog !== undefined && logged !== 0)
      accessLog.request(this.head, this.peer, logged, this.bodyBytes, this.tookMs, this.upstream?.name);
    counters.inFlight--;
    if (this.status !== 0) this.count(upstream);
    this.counted = 0;
    this.upstream = undefined;
  }
}
