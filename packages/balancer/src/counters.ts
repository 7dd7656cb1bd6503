/** What this balancer counted, for the reports it makes. */
import { Histogram } from "@paceline/link";

export class Counters {
  connections = 0;
  connectionsTotal = 0;
  requestsTotal = 0;
  errorsTotal = 0;
  retriesTotal = 0;
  inFlight = 0;
  readonly latency = new Histogram();

  /** An answer is finished; @param milliseconds since its request's head was read. */
  answered(status: number, milliseconds: number): void {
    this.requestsTotal++;
    if (status >= 500) this.errorsTotal++;
    this.latency.record(milliseconds * 1000);
  }
}
