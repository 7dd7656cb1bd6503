/** Remembers requests that crash their processes, so that they are not sent to further processes. Pure. */

/** How long an exited process is remembered, in milliseconds. */
export const POISON_MS = 60_000;
/**
 * The maximum number of remembered requests. If more than these crash their processes within a minute, every request counts as a crashing
 * one.
 */
const MAX_REQUESTS = 256;
const MAX_SEGMENTS = 8;
const MAX_SEGMENT = 32;

interface Death {
  process: string;
  at: number;
}

/** The processes that were ended by similar requests of a pool. */
export interface PoisonFound {
  pool: string;
  /** For example `GET /users/*`. */
  request: string;
  processes: string[];
}

export class PoisonBook {
  /** The last two exited processes, by pool and request; the most recent entry is last. */
  private readonly deaths = new Map<string, Death[]>();
  /** When each request was last reported. */
  private readonly reportedAt = new Map<string, number>();

  constructor(private readonly onFound: (found: PoisonFound) => void) {}

  /** Whether similar requests have ended more than one process recently. */
  has(pool: string, request: string, now: number): boolean {
    if (this.deaths.size === 0) return false;
    this.forget(now);
    return this.deaths.size >= MAX_REQUESTS || (this.deaths.get(keyOf(pool, request))?.length ?? 0) > 1;
  }

  /** Records that a process ended while it was running this request. */
  record(pool: string, request: string, process: string, now: number): void {
    this.forget(now);
    const key = keyOf(pool, request);
    const before = this.deaths.get(key) ?? [];
    if (before.some((death) => death.process === process)) return;
    if (!this.deaths.delete(key) && this.deaths.size >= MAX_REQUESTS) return;
    const deaths = [...before.slice(-1), { process, at: now }];
    this.deaths.set(key, deaths);
    if (deaths.length < 2 || now - (this.reportedAt.get(key) ?? Number.NEGATIVE_INFINITY) < POISON_MS) return;
    this.reportedAt.set(key, now);
    this.onFound({ pool, request, processes: deaths.map((death) => death.process) });
  }

  private forget(now: number): void {
    for (const [key, deaths] of this.deaths) {
      const recent = deaths.filter(({ at }) => now - at < POISON_MS);
      if (recent.length === deaths.length) continue;
      if (recent.length > 0) this.deaths.set(key, recent);
      else this.deaths.delete(key);
    }
    for (const [key, at] of this.reportedAt) if (now - at >= POISON_MS) this.reportedAt.delete(key);
  }
}

function keyOf(pool: string, request: string): string {
  return `${pool} ${request}`;
}

/**
 * Returns the pattern that similar requests share: the method, and the path without identifiers. Segments that are long or contain a digit
 * count as identifiers: `GET /users/17` is similar to `GET /users/18`.
 * @param described for example `GET /users/17`
 */
export function requestPattern(described: string): string {
  const [method = "", target = ""] = described.split(" ", 2);
  const path = target.replace(/^[a-z]+:\/\/[^/]*/i, "") || "/";
  const segments = path.split("/");
  const shown = segments.slice(0, MAX_SEGMENTS + 1).map((segment) => {
    return /\d/.test(segment) || segment.length > MAX_SEGMENT ? "*" : segment;
  });
  return `${method} ${shown.join("/")}${segments.length > shown.length ? "/…" : ""}`;
}
