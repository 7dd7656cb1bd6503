/** Counts a server's requests and responses, at nanoseconds per request. */
import { Histogram, heapBytes, type InstanceStats, type Measured } from "@paceline/wire";

/** A server's counts, for the reports to the supervisor and for embedding programs. */
export type ServerStats = Omit<InstanceStats, "type" | "role" | "deferred" | keyof Measured>;

/** The counts of one server. A request is in flight until its response was sent or its client has left. */
export class RequestCounter {
  private startedCount = 0;
  private wake: (() => void) | undefined;
  /** Responses with status 500 or above, and handlers that threw. */
  errors = 0;
  /** The time from the request's head to the Response for fetch, or to the end of the response for (req, res). */
  readonly latency = new Histogram();

  /** @param inFlight returns how many of the started requests have not ended */
  constructor(private readonly inFlight: () => number) {}

  /** The number of requests that reached the handler. */
  get started(): number {
    return this.startedCount;
  }

  /** Called when a request reached the handler. */
  begin(): void {
    this.startedCount++;
    if (this.wake !== undefined) this.wakeUp();
  }

  /** Calls `wake` once, at the next request. */
  onNext(wake: () => void): void {
    this.wake = wake;
  }

  private wakeUp(): void {
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }

  /** Returns the totals so far, and the latencies since the last call. */
  take(): ServerStats {
    const inFlight = this.inFlight();
    return {
      requestsTotal: this.started - inFlight,
      errorsTotal: this.errors,
      inFlight,
      latency: this.latency.takeSparse(),
      heapBytes: heapBytes(),
    };
  }
}
