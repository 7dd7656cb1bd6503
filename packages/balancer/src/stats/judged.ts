/** Counts the responses of one upstream by route class, while a release of its pool is being judged. */
import { Histogram, type JudgedStats } from "@paceline/wire";

interface ClassCounts {
  requests: number;
  errors: number;
  readonly latency: Histogram;
  /** Latencies of errors; created for the first one. */
  failed: Histogram | undefined;
  /** Latencies of abandoned requests; created for the first one. */
  abandoned: Histogram | undefined;
}

export class JudgedCounts {
  private lost = 0;
  /** Indexed by the number of the route class. An entry is created for the first response of its class. */
  private readonly classes: (ClassCounts | undefined)[] = [];

  /** Counts a finished response. */
  countResponse(routeClass: number, status: number, milliseconds: number): void {
    const counts = this.countsOf(routeClass);
    counts.requests++;
    if (status < 500) return counts.latency.record(milliseconds * 1000);
    counts.errors++;
    counts.failed ??= new Histogram();
    counts.failed.record(milliseconds * 1000);
  }

  /** Counts a request that was abandoned before its response. */
  abandoned(routeClass: number, milliseconds: number): void {
    const counts = this.countsOf(routeClass);
    counts.abandoned ??= new Histogram();
    counts.abandoned.record(milliseconds * 1000);
  }

  private countsOf(routeClass: number): ClassCounts {
    let counts = this.classes[routeClass];
    if (counts === undefined) {
      counts = { requests: 0, errors: 0, latency: new Histogram(), failed: undefined, abandoned: undefined };
      this.classes[routeClass] = counts;
    }
    return counts;
  }

  /** Counts a request without a complete response. */
  lose(): void {
    this.lost++;
  }

  /** Returns the counts, with latencies since the last call. */
  take(): JudgedStats {
    const classes = [...this.classes.entries()].flatMap(([routeClass, counts]) => {
      if (counts === undefined) return [];
      const { requests, errors } = counts;
      const failed = counts.failed?.takeSparse() ?? [];
      const abandoned = counts.abandoned?.takeSparse() ?? [];
      return [
        {
          routeClass,
          requests,
          errors,
          latency: counts.latency.takeSparse(),
          ...(failed.length > 0 && { failed }),
          ...(abandoned.length > 0 && { abandoned }),
        },
      ];
    });
    return { lost: this.lost, classes };
  }
}
