/** What every exchange shares: limits, clock, routes, writers and counters. Made once; the routes change with a snapshot. */
import type { BalancerLimits } from "@paceline/wire";
import type { Deadlines } from "../deadlines.js";
import type { TurnShare } from "../downstream/turn-share.js";
import type { Forwarded } from "../http1/forwarded.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { RequestHead } from "../http1/request-head.js";
import type { InternalPools } from "../routing/file-redirect.js";
import type { Router } from "../routing/router.js";
import type { AccessLog } from "../stats/access-log.js";
import type { Counters } from "../stats/counters.js";
import type { Pool } from "../upstreams/pool.js";
import type { BufferBudget } from "./buffer-budget.js";
import type { PoisonBook } from "./poison.js";
import type { Spool } from "./spool.js";

export interface Relay {
  readonly limits: BalancerLimits;
  readonly budget: BufferBudget;
  readonly spool: Spool;
  readonly poison: PoisonBook;
  readonly deadlines: Deadlines;
  readonly counters: Counters;
  /** An upstream owed a response for too long. */
  onResponseTimeout(): void;
  readonly forwarded: Forwarded;
  readonly turnShare: TurnShare;
  /** The one parsed request head; good until the turn ends. */
  readonly requestHead: RequestHead;
  /** Builds what goes to clients. */
  readonly responseWriter: HeadWriter;
  router: Router<Pool>;
  /** The pools that responses of others lead to; undefined where there are none. */
  internal: InternalPools | undefined;
  /** Undefined where none is kept. */
  readonly accessLog: AccessLog | undefined;
  /** No new work: every response is the last of its connection. */
  isDraining: boolean;
}
