/** Finds the requests that instances have not finished, on demand; nothing is stored for it. */
import type { OpenRequest } from "@paceline/wire";

/** The maximum number of requests of one instance, and of all. */
const MOST_OF_EACH = 12;
const MOST = 512;
/** The maximum number of clients that are examined. */
const MAX_LOOKED_AT = 20_000;

/** A client with HTTP/1 has one request at a time, one with HTTP/2 several. */
type Client = { openRequest(): OpenRequest | undefined } | { openRequests(): OpenRequest[] };

/** Returns the oldest requests of each instance, the oldest first. */
export function oldestOfEach(clients: Iterable<object>): OpenRequest[] {
  const byUpstream = new Map<string, OpenRequest[]>();
  let looked = 0;
  for (const client of clients) {
    if (++looked > MAX_LOOKED_AT) break;
    for (const open of requestsOf(client as Partial<Client>)) {
      const own = byUpstream.get(open.upstream) ?? [];
      byUpstream.set(open.upstream, own);
      own.push(open);
      // Drops the youngest requests when there are too many.
      if (own.length > 2 * MOST_OF_EACH) own.sort(byAge).splice(MOST_OF_EACH);
    }
  }
  return [...byUpstream.values()]
    .flatMap((own) => own.sort(byAge).slice(0, MOST_OF_EACH))
    .sort(byAge)
    .slice(0, MOST);
}

/** A connection that waits for its PROXY header has no requests. */
function requestsOf(client: Partial<Client>): OpenRequest[] {
  if ("openRequests" in client) return client.openRequests?.() ?? [];
  const open = "openRequest" in client ? client.openRequest?.() : undefined;
  return open === undefined ? [] : [open];
}

function byAge(a: OpenRequest, b: OpenRequest): number {
  return b.ageMs - a.ageMs;
}
