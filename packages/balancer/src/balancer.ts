/** The balancer: accepts clients on the inherited sockets, relays their requests, and follows the supervisor's snapshots. */
import {
  type BalancerLimits,
  type BalancerStats,
  controlLanePath,
  type IdentityRules,
  type LostRequests,
  NO_ROUTE,
  type OpenRequest,
  type RateLimitRule,
  type RecordedRequest,
  type RecordedSpan,
  type Snapshot,
} from "@paceline/wire";
import type { AccessLogRule } from "@paceline/wire/access-log";
import { ListeningSockets, SETTLE_MS } from "./admission/listening.js";
import { RateLimits } from "./admission/rate-limits.js";
import { Deadlines, TICK_MS } from "./deadlines.js";
import { Acceptor, type Entrance } from "./downstream/acceptor.js";
import { Http1Downstream } from "./downstream/http1.js";
import { Http2Downstream } from "./downstream/http2.js";
import { BufferBudget } from "./exchange/buffer-budget.js";
import { PoisonBook, type PoisonFound } from "./exchange/poison.js";
import type { Relay } from "./exchange/relay.js";
import { SpareHeads } from "./exchange/saved-head.js";
import { Spool } from "./exchange/spool.js";
import { UnreadBytes } from "./exchange/unread-bytes.js";
import { Forwarded } from "./http1/forwarded.js";
import { HeadWriter } from "./http1/head-writer.js";
import { IdentitySource } from "./http1/identity.js";
import { RequestHead } from "./http1/request-head.js";
import { Probes } from "./routing/probes.js";
import { Router } from "./routing/router.js";
import { AccessLog } from "./stats/access-log.js";
import { Counters } from "./stats/counters.js";
import { Losses } from "./stats/losses.js";
import { oldestOfEach } from "./stats/open-requests.js";
import { Recorder, SpanRecorder } from "./stats/recorder.js";
import { TcpUpstreamClient } from "./tcp/tcp-upstream.js";
import { TurnShare } from "./transport/reading.js";
import { SmallReads } from "./transport/small-reads.js";
import type { Transport } from "./transport/transport.js";
import { Http1UpstreamClient, WatchedHttp1Client } from "./upstream-http1/http1-upstream.js";
import { ControlLane } from "./upstream-lane/lane-connection.js";
import { LaneUpstreamClient } from "./upstream-lane/lane-upstream.js";
import type { CountsFiles } from "./upstreams/counts-files.js";
import { UpstreamRegistry } from "./upstreams/registry.js";
import { StallWatch } from "./upstreams/stall-watch.js";

/** How often clients that are not being read are checked for a disconnect. */
const LOOK_TICKS = 1000 / TICK_MS;
/** The tick interval after a second without clients, when only idle upstream connections have deadlines. */
const QUIET_TICK_MS = 1000;
const QUIET_TICKS = 1000 / TICK_MS;
/** The maximum time for which a draining balancer accepts the clients in the accept queue. */
const MAX_ACCEPT_MS = 1000;

/** Also advances while this process waits for the CPU, because peers continue to read during that time. */
const WALL_CLOCK = {
  get now() {
    return performance.now();
  },
};

/** A slow reader may pause for this fraction of `sendTimeoutMs` while others need the memory of its response. */
const READER_BREAKS = 8;

interface BalancerOptions {
  transport: Transport;
  limits: BalancerLimits;
  trustedProxies: readonly string[];
  rateLimits: readonly RateLimitRule[];
  /** Undefined: no access log. */
  accessLog?: AccessLogRule | undefined;
  /** The descriptor of the balancer's output, where the access log goes unless it has a file. */
  outputFd: number;
  /** Undefined: requests get no ids or traces. */
  identity?: IdentityRules | undefined;
  /** Reports requests of a recording. Returns false if they cannot be sent. */
  onRecorded(requests: RecordedRequest[], lost: number): boolean;
  /** Reports sampled requests. Returns false if they cannot be sent. If undefined, no requests are reported. */
  onSpans?: ((spans: RecordedSpan[], lost: number) => boolean) | undefined;
  /** Called when a removed upstream has no more connections, or the listening sockets were closed. */
  onChanged(): void;
  /** Called when a drain has ended because no client connection is left. */
  onDrained(): void;
  /** The folder for large bodies of slow clients; undefined: none are stored. */
  spoolDir: string | undefined;
  /** How this balancer shares counts with others; undefined if it does not. */
  countsFiles?: CountsFiles | undefined;
  /** Called at most once a minute when similar requests have ended more than one process. */
  onPoison(found: PoisonFound): void;
  /** Called when requests were lost at an upstream, which has probably exited. */
  onLost(lost: LostRequests): void;
  /** Called when an upstream was ejected or readmitted. */
  onEjection(): void;
  /** Called when a request got 504 while its upstream may still be running it. */
  onOverdue(): void;
  /** Receives a line about an error. */
  onProblem(message: string): void;
  /** Receives a line for the operator. */
  onNotice(message: string, kind?: "disk"): void;
}

export class Balancer {
  readonly counters = new Counters();
  private readonly relay: Relay;
  private readonly deadlines = new Deadlines();
  private readonly registry: UpstreamRegistry;
  private readonly probes = new Probes();
  private readonly listening = new ListeningSockets((fd) => this.acceptor.isTcp(fd));
  private ticker: NodeJS.Timeout | undefined;
  /** Ticks since the last client. */
  private quietTicks = 0;
  private ticks = 0;
  /** How many long-lived responses may be ended now. */
  private closesDue = 0;
  private readonly acceptor: Acceptor;

  constructor(private readonly options: BalancerOptions) {
    const { limits, transport } = options;
    const { deadlines } = this;
    const forwarded = new Forwarded(options.trustedProxies);
    const requestWriter = new HeadWriter(limits.maxHeadBytes, deadlines);
    const budget = new BufferBudget(limits.maxBufferedBytes);
    const { spoolDir: folder, accessLog: rule, outputFd } = options;
    const onProblem = (message: string) => options.onNotice(message, "disk");
    const accessLog = rule && new AccessLog({ rule, outputFd, forwarded, limits, onProblem });
    this.relay = {
      limits,
      budget,
      unread: new UnreadBytes({
        maxBytes: limits.maxUnreadBytes,
        patienceMs: limits.sendTimeoutMs / READER_BREAKS,
        clock: WALL_CLOCK,
        onNotice: options.onNotice,
        lookAtPeers: () => transport.lookAtPeers(),
      }),
      turnShare: new TurnShare(),
      spool: new Spool({ folder, maxBytes: limits.maxSpoolBytes, budget, onProblem }),
      poison: new PoisonBook(options.onPoison),
      losses: new Losses(options.onLost),
      deadlines,
      counters: this.counters,
      onResponseTimeout: () => {
        if (this.counters.abandoned > 0) options.onOverdue();
      },
      forwarded,
      requestHead: new RequestHead(limits),
      spareHeads: new SpareHeads(() => new RequestHead(limits)),
      responseWriter: new HeadWriter(limits.maxHeadBytes, deadlines),
      router: new Router([]),
      rateLimits: options.rateLimits.length === 0 ? undefined : new RateLimits(options.rateLimits, forwarded),
      probes: undefined,
      hsts: undefined,
      challenges: undefined,
      internal: undefined,
      identities:
        options.identity &&
        new IdentitySource({ rules: options.identity, clock: deadlines, date: Date.now, random: Math.random }),
      accessLog,
      spans: options.onSpans && new SpanRecorder(options.onSpans),
      takesTimes: accessLog?.takesTimes === true || options.onSpans !== undefined,
      recorder: undefined,
      isDraining: false,
      drainingSince: Number.POSITIVE_INFINITY,
    };
    const { maxConnectionsPerUpstream, notStartedUnsafeMax } = limits;
    const { turnShare, unread } = this.relay;
    const tcp = { deadlines, counters: this.counters, limits, turnShare, unread };
    const smallReads = new SmallReads(unread);
    const http1 = { transport, deadlines, requestWriter, turnShare, smallReads, counters: this.counters };
    const stall = new StallWatch(limits.stallAfterMs, () => this.registry.allPools());
    const lane = { transport, notStartedUnsafeMax, unread, onBusy: () => stall.wake(), onProblem: options.onProblem };
    this.registry = new UpstreamRegistry({
      deadlines,
      maxQueue: limits.maxQueue,
      upstreamResponseTimeoutMs: limits.upstreamResponseTimeoutMs,
      stickyWaitMs: limits.stickyWaitMs,
      stallAfterMs: limits.stallAfterMs,
      countsFiles: options.countsFiles,
      makeClient: (described, pool, onRoom) => {
        const { isTcp, work } = pool;
        const { socket = "", tcp, protocol, foreign = false, perClient = foreign, sendProxy } = described;
        const { maxInFlight = Number.POSITIVE_INFINITY } = described;
        if (isTcp)
          return new TcpUpstreamClient(transport, tcp ?? socket, { maxConnections: maxInFlight, sendProxy, onRoom });
        const bound = Math.min(maxConnectionsPerUpstream, maxInFlight);
        if (protocol === "lane") return new LaneUpstreamClient(lane, socket, bound, onRoom, work);
        // Each connection carries one request at a time.
        const isBounded = maxInFlight < maxConnectionsPerUpstream;
        const client = new Http1UpstreamClient(http1, tcp ?? socket, {
          maxConnections: bound,
          isForeign: foreign,
          isPerClient: perClient || sendProxy !== undefined,
          sendProxy,
          onRoom: isBounded ? onRoom : undefined,
          pool,
        });
        if (protocol !== "http1+control") return client;
        return new WatchedHttp1Client(client, new ControlLane(lane, controlLanePath(socket), work), lane.onBusy);
      },
      onLeft: options.onChanged,
      onDrained: options.onChanged,
      onEjection: options.onEjection,
      onNotice: options.onNotice,
    });
    this.acceptor = new Acceptor({
      ...{ transport, relay: this.relay, counters: this.counters, tcp, registry: this.registry },
      onEntered: () => this.wake(),
      onLeft: () => this.finishIfDrained(),
      onNotice: options.onNotice,
    });
    this.tickEvery(TICK_MS);
  }

  get version(): number {
    return this.registry.version;
  }

  get leaving(): string[] {
    return this.registry.leaving;
  }

  /** The draining upstreams that have requests. */
  get busy(): string[] {
    return this.registry.busy;
  }

  get isDraining(): boolean {
    return this.relay.isDraining;
  }

  /** Whether it still accepts clients. */
  get isListening(): boolean {
    return this.listening.areOpen;
  }

  /** Returns the parts of a report that are not in `counters`. Includes only routes that had responses since the last call. */
  takeStats(): Pick<BalancerStats, "upstreams" | "spoolBytes" | "unreadEndedTotal" | "held" | "loads" | "routes"> {
    const { registry, relay, counters } = this;
    return {
      upstreams: registry.takeStats(),
      ...{ spoolBytes: relay.spool.usedBytes, unreadEndedTotal: relay.unread.endedTotal },
      ...{ held: registry.heldStats(), loads: registry.takeLoads() },
      routes: [...registry.routes.take(), ...counters.unrouted.take("", NO_ROUTE)],
    };
  }

  /** Reports the counts of all routes again, because a new supervisor has only older counts, or none. */
  reportAllRoutes(): void {
    this.registry.routes.again();
    this.counters.unrouted.again();
  }

  /** Returns the oldest unfinished request of each instance. */
  openRequests(): OpenRequest[] {
    return oldestOfEach(this.acceptor.clients);
  }

  /** Reopens the file of the access log after it was moved. */
  reopenAccessLog(): void {
    this.relay.accessLog?.reopen();
  }

  /** Resets incomplete responses, and writes the rest of the access log and of a recording, before the process exits. */
  close(): void {
    this.acceptor.cutParts();
    this.options.countsFiles?.close();
    this.relay.accessLog?.close();
    this.relay.recorder?.flush();
    this.relay.spans?.flush();
  }

  /** @param challenges the responses to ACME's http-01 challenges, by token; undefined if there are none */
  challenge(challenges: ReadonlyMap<string, string> | undefined): void {
    this.relay.challenges = challenges;
  }

  /** Whether this snapshot removes an upstream whose last responses have not been reported. */
  removesNews(snapshot: Snapshot): boolean {
    return this.registry.removesNews(snapshot);
  }

  /** Applies a snapshot if it is newer than the current one. */
  apply(snapshot: Snapshot): void {
    if (snapshot.version <= this.registry.version) return;
    const { hsts } = snapshot;
    const { router, internal } = this.registry.apply(snapshot);
    this.relay.router = router;
    this.relay.internal = internal;
    this.acceptor.follow(snapshot);
    this.record(snapshot.recorded === true);
    this.probes.follow(snapshot);
    this.relay.probes = this.probes.areOn ? this.probes : undefined;
    this.relay.hsts = hsts === undefined ? undefined : Buffer.from(`Strict-Transport-Security: ${hsts}\r\n`, "latin1");
    if (this.registry.isLimited) this.relay.spool.prepare();
  }

  private record(isOn: boolean): void {
    const { relay, options } = this;
    if (isOn) relay.recorder ??= new Recorder(options.onRecorded);
    else {
      relay.recorder?.flush();
      relay.recorder = undefined;
    }
  }

  /** Starts to accept on an inherited descriptor of a unix or TCP socket. Throws if the runtime cannot. */
  listen(at: Entrance): void {
    const { transport } = this.options;
    const { fd } = at;
    this.listening.add(
      fd,
      transport.listen(fd, (connection) => this.acceptor.accept(connection, at)),
    );
  }

  private tickEvery(ms: number): void {
    clearInterval(this.ticker);
    this.ticker = setInterval(() => this.tick(), ms);
  }

  /** Restarts the frequent ticks when a client connects. */
  private wake(): void {
    if (this.quietTicks >= QUIET_TICKS) {
      this.deadlines.count(performance.now(), QUIET_TICK_MS);
      this.tickEvery(TICK_MS);
    }
    this.quietTicks = 0;
  }

  private tick(): void {
    if (this.acceptor.clients.size > 0) this.quietTicks = 0;
    else if (++this.quietTicks === QUIET_TICKS) this.tickEvery(QUIET_TICK_MS);
    this.deadlines.tick(performance.now(), this.quietTicks > QUIET_TICKS ? QUIET_TICK_MS : TICK_MS);
    this.registry.tick(this.deadlines, this.options.limits.upstreamIdleTimeoutMs);
    this.listening.tick(this.counters.connectionsTotal);
    if (this.options.limits.drainClosesPerSecond > 0) this.endDrained();
    if (++this.ticks % LOOK_TICKS !== 0) return;
    for (const client of this.acceptor.clients) client.lookIfLeft();
    this.relay.unread.look();
  }

  /**
   * Ends WebSockets and event streams of draining instances, a limited number each second, so that their clients do not all reconnect at
   * once.
   */
  private endDrained(): void {
    if (!this.relay.isDraining && this.registry.leaving.length === 0) return;
    const perSecond = this.options.limits.drainClosesPerSecond;
    this.closesDue = Math.min(this.closesDue + (perSecond * TICK_MS) / 1000, Math.max(1, perSecond / 10));
    for (const client of this.acceptor.clients) {
      if (this.closesDue < 1) return;
      if (client instanceof Http1Downstream && client.endEarly()) this.closesDue--;
      else if (client instanceof Http2Downstream) this.closesDue -= client.endEarly(this.closesDue);
    }
  }

  /** Accepts the waiting clients, then no more. Current clients get their responses, after which their connections close. */
  drain(): void {
    if (this.relay.isDraining) return;
    this.relay.isDraining = true;
    this.relay.drainingSince = this.deadlines.now;
    this.probes.drain();
    for (const client of [...this.acceptor.clients]) if (client instanceof Http2Downstream) client.drain();
    if (this.listening.beginClosing()) setTimeout(() => this.acceptWaiting(performance.now()), SETTLE_MS);
    else this.acceptWaiting(performance.now() + MAX_ACCEPT_MS);
    setTimeout(() => {
      for (const client of [...this.acceptor.clients]) client.closeIfIdle();
    }, this.options.limits.idleDrainMs);
  }

  /**
   * If this is the last process with the listening socket, closing the socket resets waiting clients. Node accepts one client in each turn
   * of the event loop.
   */
  private acceptWaiting(until: number): void {
    const { connectionsTotal: before } = this.counters;
    // The second turn comes after the sockets were polled again.
    const polled = () => {
      if (this.counters.connectionsTotal === before || performance.now() >= until) this.stopListening();
      else this.acceptWaiting(until);
    };
    setImmediate(() => setImmediate(polled));
  }

  private stopListening(): void {
    this.listening.close();
    this.options.onChanged();
    this.finishIfDrained();
  }

  private finishIfDrained(): void {
    if (!this.relay.isDraining || this.isListening || this.acceptor.clients.size > 0) return;
    clearInterval(this.ticker);
    this.options.onDrained();
  }
}
