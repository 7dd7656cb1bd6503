/** Applies snapshots: creates the pools and their upstreams, and tracks those that are leaving. */
import {
  FULL_SHARE,
  type HeldStats,
  type PolicyName,
  type PoolLoadStats,
  type Snapshot,
  type SnapshotUpstream,
  type StickyRule,
  type UpstreamStats,
} from "@paceline/wire";
import { Compression } from "../coding/compression.js";
import type { Deadlines } from "../deadlines.js";
import type { InternalPools } from "../routing/file-redirect.js";
import { ErrorPages } from "../routing/local-response.js";
import { Router, type RouteSpec } from "../routing/router.js";
import { RouteBook } from "../stats/route-counts.js";
import type { CountsFiles } from "./counts-files.js";
import { Hedging } from "./hedging.js";
import { LeastBusy } from "./least-busy.js";
import { OutOfTurn } from "./out-of-turn.js";
import { PeakLatency } from "./pace.js";
import { ranksOf } from "./pending-lines.js";
import type { Policy } from "./picking.js";
import { Pool } from "./pool.js";
import { HEALTH_REASONS, PoolHealth } from "./pool-health.js";
import { RandomTwo } from "./random-two.js";
import { RoundRobin } from "./round-robin.js";
import { STALL_TICK_MS } from "./stall-watch.js";
import { Stickiness } from "./sticky.js";
import { Upstream } from "./upstream.js";
import type { UpstreamClient } from "./upstream-client.js";

interface PolicyEntry {
  make(): Policy<Upstream>;
  /** Whether requests go in turn, however busy an upstream is. */
  isExact?: true;
  /** Whether it needs to know how fast upstreams respond. */
  usesLatency?: true;
}

/** The registry of policies. A new policy is a file, a line here, and its name in POLICY_NAMES of packages/wire. */
const POLICIES: Record<PolicyName, PolicyEntry> = {
  "round-robin": { make: () => new RoundRobin() },
  exact: { make: () => new RoundRobin(), isExact: true },
  "least-busy": { make: () => new LeastBusy() },
  "random-two": { make: () => new RandomTwo(Math.random), usesLatency: true },
};

/** The reasons to be out of turn that the supervisor decides. */
const REASONS: Record<NonNullable<SnapshotUpstream["outOfTurn"]>, number> = {
  drained: OutOfTurn.DRAINED,
  ejected: OutOfTurn.EJECTED,
};

function reasonsOf({ outOfTurn, backup }: SnapshotUpstream): number {
  return (outOfTurn === undefined ? 0 : REASONS[outOfTurn]) | (backup === true ? OutOfTurn.BACKUP : 0);
}

interface RegistryOptions {
  deadlines: Deadlines;
  maxQueue: number;
  /** The response timeout of upstreams in milliseconds; a pool may have a shorter one. */
  upstreamResponseTimeoutMs: number;
  /** An upstream from which nothing arrives for this long counts as stalled, in milliseconds. */
  stallAfterMs: number;
  /** How long a sticky client waits for its slot. */
  stickyWaitMs: number;
  /** Shares counts with other balancers, if that is possible. */
  countsFiles?: CountsFiles | undefined;
  /** @param onRoom called when the client can take more requests */
  makeClient(upstream: SnapshotUpstream, pool: Pool, onRoom: () => void): UpstreamClient;
  /** Called when a removed upstream has no connections any more. */
  onLeft(): void;
  /** Called when a drained upstream has no requests any more. */
  onDrained(): void;
  /** Called when an upstream was ejected or readmitted. */
  onEjection(): void;
  /** Receives a line for the operator. */
  onNotice(message: string): void;
}

export class UpstreamRegistry {
  version = 0;
  private pools = new Map<string, Pool>();
  /** By process, for example `web.3#7`: members of pools, and removed ones that still have connections. */
  private members = new Map<string, Upstream>();
  /** If a process has left its pool and returned, it has several entries. */
  private readonly outgoing = new Set<Upstream>();
  readonly routes = new RouteBook();
  /** By pool. */
  private readonly health = new Map<string, PoolHealth>();

  constructor(private readonly options: RegistryOptions) {}

  /** The processes that were removed from their pools and still have connections. */
  get leaving(): string[] {
    return [...new Set([...this.outgoing].map(({ id }) => id))];
  }

  /** The drained upstreams that still have requests. */
  get busy(): string[] {
    return [...this.members.values()].flatMap(({ id, onIdle, inFlight }) =>
      onIdle !== undefined && inFlight > 0 ? [id] : [],
    );
  }

  /** Applies a whole snapshot. Returns the router of its pools, and the internal pools. */
  apply(snapshot: Snapshot): { router: Router<Pool>; internal: InternalPools | undefined } {
    const members = new Map<string, Upstream>();
    const pools = new Map<string, Pool>();
    this.options.countsFiles?.follow(snapshot.balancers ?? 1, this.options.deadlines.now);
    const shared = this.options.countsFiles?.isOn === true ? this.options.countsFiles : undefined;
    const routes: RouteSpec<Pool>[] = [];
    const internalRoutes: RouteSpec<Pool>[] = [];
    const roots: { folder: string; path: string }[] = [];
    for (const described of snapshot.pools) {
      const { policy: policyName = "round-robin" } = described;
      const policy = POLICIES[policyName];
      const pool = this.pools.get(described.name) ?? new Pool(described.name, policy.make(), this.options.maxQueue);
      if (pool.policyName !== policyName) pool.policy = policy.make();
      pool.policyName = policyName;
      pool.isTcp = described.mode === "tcp";
      // A tcp connection lasts long, so the order of turns is exact, unless another policy was chosen.
      pool.isExact = policy.isExact ?? (pool.isTcp && policyName === "round-robin");
      const upstreams = described.upstreams.map((upstream) => this.upstreamOf(upstream, pool));
      pool.shared = shared;
      for (const upstream of upstreams) {
        members.set(upstream.id, upstream);
        if (shared !== undefined && upstream.others === undefined) {
          upstream.others = shared.join(upstream.id);
          upstream.share();
        }
        upstream.countForVerdict(described.judged ?? false);
        if (policy.usesLatency !== true) upstream.latency = undefined;
        else upstream.latency ??= new PeakLatency(this.options.deadlines);
      }
      pools.set(described.name, pool);
      for (const [ordinal, route] of described.routes.entries()) {
        const counts = this.routes.of(described.name, route, ordinal);
        const spec = { text: route, target: pool, stripPrefix: described.stripPrefix ?? false, ordinal, counts };
        (described.internalRoots === undefined ? routes : internalRoutes).push(spec);
      }
      const path = described.routes[0]?.replace(/^[^/]*/, "").replace(/\/?$/, "/") ?? "/";
      for (const folder of described.internalRoots ?? []) roots.push({ folder, path });
      pool.takesAllRequests = described.takesAllRequests ?? false;
      pool.sendsFiles = described.sendsFiles ?? false;
      pool.work.balancers = snapshot.balancers ?? 1;
      // A pool without an upstream keeps the previous value.
      if (upstreams.length > 0)
        pool.isLimited = described.upstreams.some(({ maxInFlight }) => maxInFlight !== undefined);
      pool.requestTimeoutMs = described.requestTimeoutMs ?? Number.POSITIVE_INFINITY;
      pool.responseTimeoutMs = Math.min(this.options.upstreamResponseTimeoutMs, pool.requestTimeoutMs);
      if (pool.errorPages?.isFrom(described.errorPages) !== true)
        pool.errorPages = described.errorPages && new ErrorPages(described.errorPages, this.options.onNotice);
      if (pool.compression?.isFrom(described.compress) !== true)
        pool.compression = described.compress && new Compression(described.compress, this.options.onNotice);
      pool.requestQueue.ranks = ranksOf(described.priority);
      pool.requestQueue.follow(upstreams.length, described.queueTimeoutMs ?? Number.POSITIVE_INFINITY);
      // A deploy compares the responses of each upstream, and a hedged request gets a response from only one of its two upstreams.
      const isHedged = described.hedge === true && described.judged !== true;
      pool.hedging = isHedged ? (pool.hedging ?? new Hedging()) : undefined;
      this.stick(pool, described.sticky);
      this.healthOf(pool).follow(described, upstreams);
      pool.setMembers(upstreams, described.awaited);
    }
    for (const [name, pool] of this.pools) {
      if (pools.has(name)) continue;
      this.health.delete(name);
      pool.setMembers([]);
    }
    this.routes.settle();
    const former = this.members;
    this.pools = pools;
    this.members = members;
    this.version = snapshot.version;
    const outgoing = [...former.values()].filter(({ id }) => !members.has(id));
    // All removed upstreams are registered before the first of them leaves, because the reply to this snapshot must name all of them.
    for (const upstream of outgoing) this.outgoing.add(upstream);
    for (const upstream of outgoing) this.leave(upstream);
    const internal = internalRoutes.length === 0 ? undefined : { router: new Router(internalRoutes), roots };
    return { router: new Router(routes), internal };
  }

  /** Whether a snapshot removes an upstream whose last responses have not been reported. */
  removesNews({ pools }: Pick<Snapshot, "pools">): boolean {
    const kept = new Set(pools.flatMap(({ upstreams }) => upstreams.map(({ id }) => id)));
    return [...this.members.values()].some((upstream) => upstream.hasNews && !kept.has(upstream.id));
  }

  private healthOf(pool: Pool): PoolHealth {
    const known = this.health.get(pool.name);
    if (known !== undefined) return known;
    const { deadlines: clock, onEjection: onChange, onNotice, stallAfterMs } = this.options;
    const health = new PoolHealth(pool, { clock, onChange, onNotice, stallAfterMs });
    this.health.set(pool.name, health);
    return health;
  }

  private stick(pool: Pool, rule: StickyRule | undefined): void {
    const { sticky } = pool;
    if (sticky?.rule.by !== rule?.by || sticky?.rule.name !== rule?.name || sticky?.rule.isLoose !== rule?.isLoose)
      pool.sticky = rule === undefined ? undefined : new Stickiness<Upstream>(rule);
    pool.patienceTicks = rule === undefined ? 0 : Math.ceil(this.options.stickyWaitMs / STALL_TICK_MS);
  }

  private upstreamOf(described: SnapshotUpstream, pool: Pool): Upstream {
    const upstream = this.members.get(described.id) ?? this.join(described, pool);
    upstream.cookie = described.cookie;
    upstream.alsoCookie = described.alsoCookie;
    upstream.maxInFlight = described.maxInFlight ?? Number.POSITIVE_INFINITY;
    upstream.setWeight(((described.weight ?? 1) * (described.share ?? FULL_SHARE)) / FULL_SHARE);
    upstream.isCanary = described.canary ?? false;
    // The balancer itself decides the reasons of health.
    upstream.reasons = (upstream.reasons & HEALTH_REASONS) | reasonsOf(described);
    upstream.failsChecks = described.failsChecks ?? false;
    upstream.onIdle = described.outOfTurn === "drained" ? this.options.onDrained : undefined;
    return upstream;
  }

  /** A process that returns after a rollback keeps its counts. It gets new connections, because the former ones are being closed. */
  private join(described: SnapshotUpstream, pool: Pool): Upstream {
    let upstream: Upstream | undefined;
    const client = this.options.makeClient(described, pool, () => {
      upstream?.share();
      pool.serveQueue();
    });
    upstream = new Upstream(described.id, described.name, client, described.foreign);
    for (const former of this.outgoing) if (former.id === described.id) former.handCountsTo(upstream);
    return upstream;
  }

  /** Whether any pool has upstreams with limited concurrency. */
  get isLimited(): boolean {
    return [...this.pools.values()].some((pool) => pool.isLimited);
  }

  /** Returns the pool of that name; undefined if there is none. */
  pool(name: string): Pool | undefined {
    return this.pools.get(name);
  }

  /** Returns the current pools. */
  allPools(): Iterable<Pool> {
    return this.pools.values();
  }

  private leave(upstream: Upstream): void {
    upstream.leave(this.options.deadlines.now, () => {
      this.outgoing.delete(upstream);
      if (upstream.others !== undefined) this.options.countsFiles?.leave(upstream.others);
      upstream.others = undefined;
      this.options.onLeft();
    });
  }

  /** Closes connections that were idle too long, and serves the queues. */
  tick(deadlines: Deadlines, idleTimeoutMs: number): void {
    this.options.countsFiles?.tick(deadlines.now);
    for (const upstream of this.members.values()) upstream.sweep(deadlines, idleTimeoutMs);
    for (const health of this.health.values()) health.tick();
    for (const pool of this.pools.values()) {
      pool.serveQueue();
      pool.countLoad();
      if (pool.shared !== undefined) pool.reassignHeld();
    }
  }

  /** Returns the mean load since the last call of each pool that had any. */
  takeLoads(): PoolLoadStats[] {
    return [...this.pools.values()].flatMap((pool) => {
      const load = pool.takeLoad();
      return load === undefined ? [] : [{ pool: pool.name, ...load }];
    });
  }

  /** Returns the figures of pools that buffer for slow clients. */
  heldStats(): HeldStats[] {
    const holding = [...this.pools.values()].filter(({ receiving, sending }) => receiving + sending > 0);
    return holding.map(({ name, receiving, sending }) => ({ pool: name, receiving, sending }));
  }

  /** Returns the upstreams' figures, with latencies since the last call. */
  takeStats(): UpstreamStats[] {
    const { members, outgoing } = this;
    const left = [...outgoing].filter(({ id }) => !members.has(id));
    return [...members.values(), ...left].map((upstream) => upstream.takeStats(this.options.deadlines.now));
  }
}
