/**
 * Counts the responses of one route by method class and status class. Clients cannot add counters: the array has a fixed place for each.
 */
import { Histogram, isOtherRoute, OTHER_ROUTES, type RouteStats, STATUS_CLASSES } from "@paceline/wire";

/** The method classes: GET and HEAD, and all others. */
const ACCESSES = ["reads", "writes"] as const;
const STATUSES = STATUS_CLASSES.length;
/** The index for errors of the balancer itself, which are also in their status class; see RouteStats. */
const OWN_ERRORS = STATUSES;
const PLACES = STATUSES + 1;
/** A report is one line of the control channel, whose length is limited. */
const MAX_REPORTED = 128;
/** The index for requests whose client left before the response was complete. */
export const ABANDONED = STATUSES - 1;

export class RouteCounts {
  private readonly counts = new Uint32Array(ACCESSES.length * PLACES);
  /** Indexed by method class. An entry is created for the first response of its class. */
  private readonly latencies: (Histogram | undefined)[] = [undefined, undefined];
  private hasNews = false;

  /** Counts a finished response. */
  countResponse(isRead: boolean, status: number, milliseconds: number): void {
    const access = isRead ? 0 : 1;
    const at = access * PLACES + classOf(status);
    this.counts[at] = (this.counts[at] as number) + 1;
    this.hasNews = true;
    let latency = this.latencies[access];
    if (latency === undefined) {
      latency = new Histogram();
      this.latencies[access] = latency;
    }
    latency.record(milliseconds * 1000);
  }

  /** Counts a request whose client left. */
  abandoned(isRead: boolean): void {
    const at = (isRead ? 0 : PLACES) + ABANDONED;
    this.counts[at] = (this.counts[at] as number) + 1;
    this.hasNews = true;
  }

  /** Counts a response with status 500 or more that no instance counts. The caller also passes it to `countResponse`. */
  failed(isRead: boolean): void {
    const at = (isRead ? 0 : PLACES) + OWN_ERRORS;
    this.counts[at] = (this.counts[at] as number) + 1;
    this.hasNews = true;
  }

  /** Reports all counts again, for a supervisor that does not know them. */
  again(): void {
    this.hasNews = true;
  }

  /** Returns all counts, and the latencies since the last call. Returns an empty list if nothing was counted since that call. */
  take(pool: string, route: string): RouteStats[] {
    if (!this.hasNews) return [];
    this.hasNews = false;
    return ACCESSES.flatMap((access, index) => {
      const counts = [...this.counts.subarray(index * PLACES, (index + 1) * PLACES)];
      if (counts.every((count) => count === 0)) return [];
      return [{ pool, route, access, counts, latency: this.latencies[index]?.takeSparse() ?? [] }];
    });
  }
}

/** Returns the index of a status in STATUS_CLASSES. */
export function classOf(status: number): number {
  return status >= 500 ? 4 : status >= 400 ? 3 : status >= 300 ? 2 : status >= 200 ? 1 : 0;
}

/** The counts of all routes, by pool and route. They last as long as their pool has the route. */
export class RouteBook {
  private routes = new Map<string, { pool: string; route: string; counts: RouteCounts }>();
  private next = new Map<string, { pool: string; route: string; counts: RouteCounts }>();

  private turn = 0;

  /**
   * Returns the counts of a route.
   * @param ordinal its position in the pool's list
   */
  of(pool: string, text: string, ordinal: number): RouteCounts {
    const route = isOtherRoute(ordinal) ? OTHER_ROUTES : text;
    const key = `${pool} ${route}`;
    const known = this.next.get(key) ?? this.routes.get(key) ?? { pool, route, counts: new RouteCounts() };
    this.next.set(key, known);
    return known.counts;
  }

  /** Removes the routes that were not requested with `of` since the last call. */
  settle(): void {
    this.routes = this.next;
    this.next = new Map();
  }

  /** Reports the counts of all routes again. */
  again(): void {
    for (const { counts } of this.routes.values()) counts.again();
  }

  /** Returns the counts of some routes that had responses since their last report. The others follow in the next calls. */
  take(most = MAX_REPORTED): RouteStats[] {
    const all = [...this.routes.values()];
    const taken: RouteStats[] = [];
    for (let step = 0; step < all.length && taken.length < most; step++) {
      const { pool, route, counts } = all[this.turn++ % all.length] as (typeof all)[number];
      taken.push(...counts.take(pool, route));
    }
    return taken;
  }
}
