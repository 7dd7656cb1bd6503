/** What this balancer counted, for the reports it makes. */
import { Histogram } from "@paceline/wire";

export class Counters {
  connections = 0;
  connectionsTotal = 0;
  requestsTotal = 0;
  errorsTotal = 0;
  retriesTotal = 0;
  inFlight = 0;
  /** Requests whose client has gone or was refused, and which hold their place until their upstream is done with them. */
  abandoned = 0;
  readonly latency = new Histogram();

  /** A number that grows with each connection that opens or closes and, from none in flight, with each request. */
  get activity(): number {
    return 2 * this.connectionsTotal - this.connections + 2 * this.requestsTotal + this.inFlight;
  }

  /** A response is finished; @param milliseconds since its request's head was read. */
  answered(status: number, milliseconds: number): void {
    this.requestsTotal++;
    if (status >= 500) this.errorsTotal++;
    this.latency.record(milliseconds * 1000);
  }
}
