/** The balancers' view of the fleet: snapshots, of which a change with many steps causes only one, and whether requests are recorded. */
import type { CommandSpec, IdentityRules, RecordedRequests, Snapshot } from "@paceline/wire";
import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { RecordingLine } from "../control/api.js";
import { poolViews, type Reach } from "../core/fleet.js";
import type { BalancerConfig, ListenAddress } from "../core/model.js";
import type { Children } from "../processes/children.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { StickyCookies } from "../run-dir/own-secrets.js";
import type { JudgedCounts } from "../stats/judged-counts.js";

interface PublishingOptions {
  runner: FleetRunner;
  configs: PoolConfigs;
  children: Children;
  coordination: BalancerCoordination;
  judged: JudgedCounts;
  recordings: Recordings;
  stickyCookies: StickyCookies;
  /** The folder in which balancers store large bodies, unless the config sets another one. */
  spoolDir: string;
  /** The addresses of the listening sockets. */
  listensOn(): string[];
  /** Called when the fleet has changed. */
  onChange(): void;
}

export class Publishing {
  /** Whether the balancers report the fleet as not ready, before a stop. */
  isUnready = false;
  /** Whether snapshots are held back. */
  private isHeld = false;
  /** The processes that have left their pools while snapshots were held back. */
  private heldLeaves: string[] = [];

  constructor(private readonly options: PublishingOptions) {}

  /** Removes a process from its pool with the next snapshot. */
  leave(id: string): void {
    if (this.isHeld) this.heldLeaves.push(id);
    else this.options.coordination.leave(id);
  }

  /** Sends one snapshot for everything that `change` does. */
  publishOnce(change: () => void): void {
    this.isHeld = true;
    try {
      change();
    } finally {
      this.isHeld = false;
    }
    this.publish();
    for (const id of this.heldLeaves.splice(0)) this.options.coordination.leave(id);
  }

  /** Sends a snapshot of the current fleet to the balancers. */
  publish(): void {
    const { configs, coordination, runner, judged, recordings, listensOn, spoolDir, onChange } = this.options;
    const { accessLog, accessLogRule, rateLimits } = configs.balancer;
    const identity = identityRules(configs.balancer);
    onChange();
    if (this.isHeld) return;
    coordination.publish({
      listen: listensOn().map((address, index) => ({
        ...{ fd: index + 3, address },
        ...(configs.balancer.proxied?.includes(index) && { proxied: true }),
        ...traitsOf(configs.fleet.listen[index]),
      })),
      pools: poolViews(runner.fleet, configs.routes, (id) => this.reach(id)).map((pool) =>
        judged.isJudged(pool.name) ? { ...pool, judged: true } : pool,
      ),
      trustedProxies: configs.balancer.trustedProxies,
      ...(rateLimits?.length > 0 && { rateLimits }),
      ...(accessLog && { accessLog: true }),
      ...(accessLog && accessLogRule !== undefined && { accessLogRule }),
      ...(identity !== undefined && { identity }),
      ...(recordings.areOn && { recorded: true }),
      ...(configs.balancer.spans && { spans: true }),
      ...(configs.balancer.probes != null && { probes: configs.balancer.probes }),
      ...(configs.balancer.processes > 1 && { balancers: configs.balancer.processes }),
      ...(configs.fleet.tls?.hsts != null && { hsts: configs.fleet.tls.hsts }),
      ...(this.isUnready && { stopping: true }),
      spoolDir: configs.balancer.spoolDir ?? spoolDir,
      limits: configs.balancerLimits,
    });
  }

  /** Returns the address of a process, with the PROXY header that its program expects. */
  private reachOfProgram(id: string): Reach | undefined {
    const { children, configs } = this.options;
    const reach = children.reach(id);
    const { pool = "", generation = 0 } = children.get(id) ?? {};
    const { sendProxy } = (configs.generation(pool, generation)?.pool.workload.command ?? {}) as Partial<CommandSpec>;
    return reach === undefined || sendProxy === undefined ? reach : { ...reach, sendProxy };
  }

  /** Returns the address of a process, with the cookies of its slot and generation if its pool recognizes clients by a cookie. */
  private reach(id: string): Reach | undefined {
    const { children, configs, stickyCookies } = this.options;
    const reach = this.reachOfProgram(id);
    const slot = id.slice(0, id.indexOf("#"));
    const pool = slot.slice(0, slot.lastIndexOf("."));
    const isCookie = configs.routes.get(pool)?.relayed?.sticky?.by === "cookie";
    if (reach === undefined || !isCookie) return reach;
    const { generation = 0 } = children.get(id) ?? {};
    return { ...reach, cookie: stickyCookies.of(slot), alsoCookie: stickyCookies.of(slot, generation) };
  }
}

/** Returns which pool gets the connections of an address, and how they are handled before. */
function traitsOf({
  pool,
  tls,
  redirect,
}: Partial<ListenAddress> = {}): Omit<Snapshot["listen"][number], "fd" | "address"> {
  return {
    ...(pool !== undefined && { pool }),
    ...(tls !== undefined && { tls: true }),
    ...(redirect !== undefined && { redirect }),
  };
}

/** Returns which ids and traces requests get; undefined if they get none. */
function identityRules({ requestId, trace }: BalancerConfig): IdentityRules | undefined {
  if (requestId === undefined && trace === undefined) return undefined;
  return { ids: requestId !== undefined, inResponse: requestId?.inResponse === true, ...(trace && { trace }) };
}

type Listener = (lines: readonly RecordingLine[]) => void;

/** The recordings in progress. The balancers report their requests while there is one. */
export class Recordings {
  private readonly listeners = new Set<Listener>();

  /** @param follow sends the value of `areOn` to the balancers. Resolves when they use it */
  constructor(private readonly follow: () => Promise<unknown>) {}

  get areOn(): boolean {
    return this.listeners.size > 0;
  }

  /** Returns a function that ends the recording. */
  add(listener: Listener): () => void {
    this.listeners.add(listener);
    void this.follow().then(() => {
      if (this.listeners.has(listener)) listener([{ began: true }]);
    });
    return () => {
      if (this.listeners.delete(listener)) void this.follow();
    };
  }

  heard({ requests, lost }: Pick<RecordedRequests, "requests" | "lost">): void {
    const lines: RecordingLine[] = lost > 0 ? [{ lost }, ...requests] : requests;
    for (const listener of this.listeners) listener(lines);
  }
}
