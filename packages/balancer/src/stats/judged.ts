/** Counts the responses of one upstream by route class, while its pool is under judgement. */
import { Histogram, type JudgedStats } from "@paceline/wire";

interface ClassCounts {
  requests: number;
  errors: number;
  readonly latency: Histogram;
}

export class JudgedCounts {
  private lost = 0;
  /** By number; made with its first response. */
  private readonly classes: (ClassCounts | undefined)[] = [];

  /** Counts a finished response. */
  answered(routeClass: number, status: number, milliseconds: number): void {
    let counts = this.classes[routeClass];
    if (counts === undefined) {
      counts = { requests: 0, errors: 0, latency: new Histogram() };
      this.classes[routeClass] = counts;
    }
    counts.requests++;
    if (status >= 500) counts.errors++;
    counts.latency.record(milliseconds * 1000);
  }

  /** Counts a request without a complete response. */
  lose(): void {
    this.lost++;
  }

  /** Returns the counts, with latencies since the last call. */
  take(): JudgedStats {
    const classes = [...this.classes.entries()].flatMap(([routeClass, counts]) =>
      counts === undefined
        ? []
        : [{ routeClass, requests: counts.requests, errors: counts.errors, latency: counts.latency.takeSparse() }],
    );
    return { lost: this.lost, classes };
  }
}
