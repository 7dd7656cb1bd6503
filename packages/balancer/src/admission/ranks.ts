/** The classes of requests by route, as the key `priority` of a pool names them. */
import type { SnapshotPool } from "@paceline/wire";
import type { SavedHead } from "../exchange/saved-head.js";
import type { RequestHead } from "../http1/request-head.js";
import { findRoute } from "../routing/route.js";
import { Router } from "../routing/router.js";
import { Rank } from "../upstreams/pending-lines.js";

/** Returns undefined if all requests are of the same class. */
export function ranksOf(priority: SnapshotPool["priority"]): Router<Rank> | undefined {
  if (priority === undefined) return undefined;
  const specs = (routes: readonly string[], target: Rank) => routes.map((text) => ({ text, target }));
  return new Router([...specs(priority.high, Rank.HIGH), ...specs(priority.low, Rank.LOW)]);
}

/** Returns the class of a request that has to wait. @param head is overwritten if there are classes */
export function rankOf(ranks: Router<Rank> | undefined, kept: SavedHead, head: RequestHead): Rank {
  if (ranks === undefined || kept.parseOriginal(head) < 0) return Rank.NORMAL;
  return findRoute(ranks, head)?.target ?? Rank.NORMAL;
}
