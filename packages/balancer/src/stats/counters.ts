/** The counts of this balancer process, for its reports. */
import { Histogram } from "@paceline/wire";
import { RouteCounts } from "./route-counts.js";

export class Counters {
  connections = 0;
  connectionsTotal = 0;
  requestsTotal = 0;
  errorsTotal = 0;
  retriesTotal = 0;
  /** Requests that were sent to two upstreams because the first one was late, and how many of them the second one served. */
  hedgesTotal = 0;
  hedgesWonTotal = 0;
  /** Requests that were refused or cut off because memory was short. */
  noRoomTotal = 0;
  inFlight = 0;
  /** Abandoned requests that still occupy their upstream because it has not finished them. */
  abandoned = 0;
  readonly latency = new Histogram();
  /** The counts of requests without a route. */
  readonly unrouted = new RouteCounts();

  /** A number that changes with each opened or closed connection and, if nothing is in flight, with each request. */
  get activity(): number {
    return 2 * this.connectionsTotal - this.connections + 2 * this.requestsTotal + this.inFlight;
  }

  /**
   * Counts a finished response.
   * @param milliseconds the time since its request's head was read
   */
  countResponse(status: number, milliseconds: number, route = this.unrouted, isRead = true): void {
    this.requestsTotal++;
    route.countResponse(isRead, status, milliseconds);
    if (status >= 500) this.errorsTotal++;
    this.latency.record(milliseconds * 1000);
  }
}
