/**
 * Admits a request before it gets an upstream: checks its client's rate limit, finds its route, and classifies it in case it has to wait in
 * the request queue.
 */
import type { SnapshotPool } from "@paceline/wire";
import type { Relay } from "../exchange/relay.js";
import type { SavedHead } from "../exchange/saved-head.js";
import type { Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { findRoute, routeOf } from "../routing/route.js";
import { type Route, Router } from "../routing/router.js";
import { Rank } from "../upstreams/pending-lines.js";
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

/** Returns a router that finds the class of a request, from a pool's key `priority`. Returns undefined if all requests are of one class. */
export function ranksOf(priority: SnapshotPool["priority"]): Router<Rank> | undefined {
  if (priority === undefined) return undefined;
  const specs = (routes: readonly string[], target: Rank) => routes.map((text) => ({ text, target }));
  return new Router([...specs(priority.high, Rank.HIGH), ...specs(priority.low, Rank.LOW)]);
}

/**
 * Returns the class of a request that has to wait.
 * @param head is overwritten if there are classes
 */
export function rankOf(ranks: Router<Rank> | undefined, kept: SavedHead, head: RequestHead): Rank {
  if (ranks === undefined || kept.parseOriginal(head) < 0) return Rank.NORMAL;
  return findRoute(ranks, head)?.target ?? Rank.NORMAL;
}
