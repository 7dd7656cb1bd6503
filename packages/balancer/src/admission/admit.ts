/** Admits a request before it gets an upstream: checks its client's rate limit and finds its route. */
import type { Relay } from "../exchange/relay.js";
import type { Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { routeOf } from "../routing/route.js";
import type { Route } from "../routing/router.js";
import type { Pool } from "../upstreams/pool.js";

/** The statuses of requests that are refused before they reach a pool. */
type NotAdmitted = 400 | 404 | 429 | 501;

/**
 * Returns the route of the request and sets the head's target to the one that the instance gets. Returns a status instead if the request is
 * refused.
 */
export function admit({ router, rateLimits }: Relay, head: RequestHead, peer: Peer): Route<Pool> | NotAdmitted {
  if (rateLimits !== undefined && !rateLimits.admits(head, peer)) return 429;
  const route = routeOf(router, head);
  if (!head.isTrace) return route;
  // A TRACE response repeats the request's fields, which can reveal secrets to scripts.
  if (typeof route === "number" || !route.target.takesAllRequests || head.framing !== "none") return 501;
  return route;
}
