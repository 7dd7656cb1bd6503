/** Remembers which requests end the processes that run them, so that these are not sent to another one. Pure. */

/** How long a death counts, in milliseconds. */
export const POISON_MS = 60_000;
/** Requests that are remembered; while so many end their processes within a minute, every request counts as one of them. */
const MAX_REQUESTS = 256;
const MAX_SEGMENTS = 8;
const MAX_SEGMENT = 32;

interface Death {
  process: string;
  at: number;
}

/** Requests of a pool like this one have ended these processes. */
export interface PoisonFound {
  pool: string;
  /** Such as `GET /users/*`. */
  request: string;
  processes: string[];
}

export class PoisonBook {
  /** The last two deaths of different processes, by pool and request; the one that had a death last is the last. */
  private readonly deaths = new Map<string, Death[]>();
  /** When each was told of last. */
  private readonly toldAt = new Map<string, number>();

  constructor(private readonly onFound: (found: PoisonFound) => void) {}

  /** Whether requests like this one have ended more than one process lately. */
  has(pool: string, request: string, now: number): boolean {
    if (this.deaths.size === 0) return false;
    this.forget(now);
    return this.deaths.size >= MAX_REQUESTS || (this.deaths.get(keyOf(pool, request))?.length ?? 0) > 1;
  }

  /** A process ended, and this request is what it was running. */
  record(pool: string, request: string, process: string, now: number): void {
    this.forget(now);
    const key = keyOf(pool, request);
    const before = this.deaths.get(key) ?? [];
    if (before.some((death) => death.process === process)) return;
    if (!this.deaths.delete(key) && this.deaths.size >= MAX_REQUESTS) return;
    const deaths = [...before.slice(-1), { process, at: now }];
    this.deaths.set(key, deaths);
    if (deaths.length < 2 || now - (this.toldAt.get(key) ?? Number.NEGATIVE_INFINITY) < POISON_MS) return;
    this.toldAt.set(key, now);
    this.onFound({ pool, request, processes: deaths.map((death) => death.process) });
  }

  private forget(now: number): void {
    for (const [key, deaths] of this.deaths) {
      const recent = deaths.filter(({ at }) => now - at < POISON_MS);
      if (recent.length === deaths.length) continue;
      if (recent.length > 0) this.deaths.set(key, recent);
      else this.deaths.delete(key);
    }
    for (const [key, at] of this.toldAt) if (now - at >= POISON_MS) this.toldAt.delete(key);
  }
}

function keyOf(pool: string, request: string): string {
  return `${pool} ${request}`;
}

/**
 * What requests like this one have in common: method and path, without what tells one thing of a kind from the next. A segment with
 * a digit in it, or a long one, is taken for a name of that sort: `GET /users/17` is like `GET /users/18`.
 * @param described such as `GET /users/17`
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
