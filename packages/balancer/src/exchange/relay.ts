/** The objects that all exchanges share: limits, clock, routes, writers and counters. Created once; snapshots change the routes. */
import type { BalancerLimits } from "@paceline/wire";
import type { RateLimits } from "../admission/rate-limits.js";
import type { Deadlines } from "../deadlines.js";
import type { Forwarded } from "../http1/forwarded.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { IdentitySource } from "../http1/identity.js";
import type { RequestHead } from "../http1/request-head.js";
import type { InternalPools } from "../routing/file-redirect.js";
import type { Probes } from "../routing/probes.js";
import type { Router } from "../routing/router.js";
import type { AccessLog } from "../stats/access-log.js";
import type { Counters } from "../stats/counters.js";
import type { Losses } from "../stats/losses.js";
import type { Recorder, SpanRecorder } from "../stats/recorder.js";
import type { TurnShare } from "../transport/reading.js";
import type { Pool } from "../upstreams/pool.js";
import type { BufferBudget } from "./buffer-budget.js";
import type { PoisonBook } from "./poison.js";
import type { SpareHeads } from "./saved-head.js";
import type { Spool } from "./spool.js";
import type { UnreadBytes } from "./unread-bytes.js";

export interface Relay {
  readonly limits: BalancerLimits;
  readonly budget: BufferBudget;
  readonly unread: UnreadBytes;
  readonly spool: Spool;
  readonly poison: PoisonBook;
  readonly losses: Losses;
  readonly deadlines: Deadlines;
  readonly counters: Counters;
  /** Called when an upstream has not responded in time. */
  onResponseTimeout(): void;
  readonly forwarded: Forwarded;
  readonly turnShare: TurnShare;
  /** The parsed request head; valid until the turn ends. */
  requestHead: RequestHead;
  readonly spareHeads: SpareHeads;
  /** Builds the heads for clients. */
  readonly responseWriter: HeadWriter;
  router: Router<Pool>;
  /** Undefined: the rate of requests is not limited. */
  readonly rateLimits: RateLimits | undefined;
  /** The Strict-Transport-Security line of responses over TLS; undefined: none. */
  hsts: Uint8Array | undefined;
  /** The responses to http-01 challenges, by token; undefined if there are none. */
  challenges: ReadonlyMap<string, string> | undefined;
  /** Undefined: there are no probe paths. */
  probes: Probes | undefined;
  /** The pools for files named in responses; undefined if there are none. */
  internal: InternalPools | undefined;
  /** Undefined: the balancer creates no request ids or traces. */
  readonly identities: IdentitySource | undefined;
  /** Undefined: no access log. */
  readonly accessLog: AccessLog | undefined;
  /** Undefined: sampled requests are not reported as spans. */
  readonly spans: SpanRecorder | undefined;
  /** Whether the times within each request are measured, for spans or for an access log that shows them. */
  readonly takesTimes: boolean;
  /** Undefined: no recording is in progress. */
  recorder: Recorder | undefined;
  /** Whether the balancer drains, so that each client connection closes after its current response. */
  isDraining: boolean;
  /** When the drain began, in milliseconds of `Deadlines.now`; Infinity if the balancer does not drain. */
  drainingSince: number;
}
