/** The outcome of one request for the counters and the access log: status, size and duration. */
import type { LostRequest } from "@paceline/wire";
import type { Peer } from "../http1/forwarded.js";
import { concernsProcess } from "../stats/losses.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import type { Relay } from "./relay.js";
import type { SavedHead } from "./saved-head.js";

/** nginx's status for a client that disconnected before its response was complete. */
export const CLIENT_CLOSED_REQUEST = 499;

export class Outcome {
  /** The status of the client's response; 0 before there is one, and after it was counted. */
  status = 0;
  /** The size of the response's body so far. */
  bodyBytes = 0;
  /** The last instance of the request. */
  upstream: Upstream | undefined;
  private startedAt = 0;
  /** The status that was counted while the client was still receiving the response. */
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

  /** @param upstream the upstream that has finished the request */
  count(upstream: Upstream | undefined): void {
    const { status, tookMs } = this;
    this.relay.counters.answered(status, tookMs);
    upstream?.answered(status, tookMs, this.head);
    this.counted = status;
    this.status = 0;
  }

  /** Notes the request for the report of the death of `upstream`, if it died. */
  noteLost(upstream: Upstream | undefined, loss: UpstreamLoss, outcome: LostRequest["outcome"]): void {
    if (upstream === undefined) return;
    if (concernsProcess(loss)) upstream.countLost();
    this.relay.losses.add(upstream.id, loss, () => {
      const id = this.head.requestId();
      const ageMs = Math.round(this.tookMs);
      return { request: this.head.describe(), ageMs, outcome, ...(id !== undefined && { id }) };
    });
  }

  /** Notes a request whose response is late. Where it keeps its place at the instance, the supervisor ends the process for it. */
  noteLate(upstream: Upstream | undefined, pool: Pool | undefined, outcome: LostRequest["outcome"]): void {
    if (pool?.isLimited === true) this.noteLost(upstream, "fatal", outcome);
  }

  /** Records that the client has its response, or will get none. */
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
