/** What happens to a request before it has an upstream: whether its client may send it now, and where it goes. */
import type { Relay } from "../exchange/relay.js";
import type { Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { routeOf } from "../routing/route.js";
import type { Route } from "../routing/router.js";
import type { Pool } from "../upstreams/pool.js";

/** The statuses of requests that no pool gets. */
type NotAdmitted = 400 | 404 | 429 | 501;

/** Returns the route of the request and changes the head's target to what the instance gets, or returns the status of the response. */
export function admit({ router, rateLimits }: Relay, head: RequestHead, peer: Peer): Route<Pool> | NotAdmitted {
  if (rateLimits !== undefined && !rateLimits.admits(head, peer)) return 429;
  const route = routeOf(router, head);
  if (!head.isTrace) return route;
  // TRACE can reveal fields to scripts.
  if (typeof route === "number" || !route.target.takesAllRequests || head.framing !== "none") return 501;
  return route;
}
