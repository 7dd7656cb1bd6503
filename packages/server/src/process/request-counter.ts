/** Counts what a server did, at a cost of nanoseconds a request. */
import { Histogram, heapBytes, type InstanceStats, type Measured } from "@paceline/wire";

/** How a server is read: by the reports to the supervisor, and by whoever embeds it. */
export type ServerStats = Omit<InstanceStats, "type" | "role" | "deferred" | keyof Measured>;

/** The counts of one server. A request is in flight until its response has left or its client has gone. */
export class RequestCounter {
  private begunCount = 0;
  private wake: (() => void) | undefined;
  /** Responses with status 500 and above, and handlers that threw. */
  errors = 0;
  /** From the head of a request to the response's: to the Response for fetch, to the end of the response for (req, res). */
  readonly latency = new Histogram();

  /** @param inFlight how many of the requests begun have not ended yet. */
  constructor(private readonly inFlight: () => number) {}

  /** Requests that reached the handler. */
  get begun(): number {
    return this.begunCount;
  }

  /** A request reached the handler. */
  begin(): void {
    this.begunCount++;
    if (this.wake !== undefined) this.wakeUp();
  }

  /** Calls `wake` at the next request, once. */
  onNext(wake: () => void): void {
    this.wake = wake;
  }

  private wakeUp(): void {
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }

  /** The totals so far; latency since the last call. */
  take(): ServerStats {
    const inFlight = this.inFlight();
    return {
      requestsTotal: this.begun - inFlight,
      errorsTotal: this.errors,
      inFlight,
      latency: this.latency.takeSparse(),
      heapBytes: heapBytes(),
    };
  }
}
