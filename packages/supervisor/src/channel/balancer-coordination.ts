/** Sends snapshots to the balancers, and tracks which version each of them follows. */
import type {
  Applied,
  BalancerLimits,
  Certificates,
  IdentityRules,
  OpenRequest,
  OpenRequests,
  Snapshot,
} from "@paceline/wire";
import type { PoolView } from "../core/fleet.js";
import type { ChannelConnection } from "./channel-server.js";

/** A snapshot without its version. */
export interface SnapshotContent {
  listen: Snapshot["listen"];
  pools: PoolView[];
  trustedProxies: string[];
  rateLimits?: NonNullable<Snapshot["rateLimits"]>;
  spoolDir: string;
  accessLog?: boolean;
  accessLogRule?: NonNullable<Snapshot["accessLogRule"]>;
  identity?: IdentityRules;
  recorded?: boolean;
  probes?: NonNullable<Snapshot["probes"]>;
  hsts?: string;
  stopping?: boolean;
  limits: BalancerLimits;
}

/** A balancer process that may still send requests to instances. */
interface Follower {
  /** Whether it has connected to this supervisor. */
  hasJoined: boolean;
  /** Null while its control channel is lost. The balancer then follows its last snapshot, so it still counts. */
  connection: ChannelConnection | null;
  applied: number;
  /** The version of the certificates that it uses. */
  certificates: number;
  /** Upstreams on which the balancer still has requests or connections, although its snapshot no longer contains them. */
  leaving: ReadonlySet<string>;
  /** Drained upstreams on which the balancer still has requests. */
  busy: ReadonlySet<string>;
  /** Whether the balancer may still accept clients. */
  listening: boolean;
}

/** An upstream that has left the pool, and the version of the snapshot without it. */
interface Leaving {
  version: number;
  /** Whether "left" was reported. */
  hasLeft: boolean;
}

interface Waiter {
  /** Returns true when the condition is met. */
  check(): boolean;
  done(): void;
}

/** A balancer that has reported nothing yet. */
const NEW_FOLLOWER: Omit<Follower, "connection"> = {
  hasJoined: false,
  applied: 0,
  certificates: 0,
  leaving: new Set(),
  busy: new Set(),
  listening: true,
};

/** How long a balancer may take to list its requests, in milliseconds. The requests of a slower balancer are left out. */
const MAX_LISTING_MS = 500;
const MAX_LISTED = 512;

export class BalancerCoordination {
  private readonly followers = new Map<string, Follower>();
  private readonly leaving = new Map<string, Leaving>();
  private readonly waiters = new Set<Waiter>();
  private readonly lists = new Map<number, (requests: OpenRequest[]) => void>();
  private lastList = 0;
  private snapshot: Snapshot | null = null;
  private content = "";
  /** The newest certificates, in as many messages as needed; empty without TLS. */
  private certificates: readonly Certificates[] = [];
  /** The newest version of an earlier supervisor, as far as known. */
  private base = 0;

  /**
   * @param report called for each upstream: with "left" when all balancers follow a snapshot without it, with "released" when none uses it
   */
  constructor(private readonly report: (upstream: string, what: "left" | "released") => void) {}

  /** The version of the newest snapshot; 0 before the first. */
  get version(): number {
    return this.snapshot?.version ?? 0;
  }

  /** Sends a new snapshot to every balancer if the content has changed. */
  publish(content: SnapshotContent): void {
    const text = JSON.stringify(content);
    if (text === this.content) return;
    this.content = text;
    this.renumber({ type: "snapshot", version: 0, ...content });
  }

  /** Sends the snapshot to every balancer as the newest one. */
  private renumber(snapshot: Snapshot): void {
    const version = Math.max(this.version, this.base) + 1;
    this.snapshot = { ...snapshot, version };
    for (const follower of this.followers.values()) follower.connection?.send(this.snapshot);
  }

  /** Sends certificates to every balancer, including those that connect later. Resolves like `whenApplied`. */
  async certify(messages: readonly Certificates[], timeoutMs: number): Promise<string[]> {
    this.certificates = messages;
    const version = messages[0]?.version ?? 0;
    for (const { connection } of this.followers.values())
      if (connection !== null) for (const message of messages) connection.send(message);
    const late = () => [...this.followers].flatMap(([id, { certificates }]) => (certificates < version ? [id] : []));
    await this.wait(() => late().length === 0, timeoutMs);
    return late();
  }

  /** Notifies a balancer that a name gets no certificate now. */
  noCertificate(id: string, name: string): void {
    this.followers.get(id)?.connection?.send({ type: "noCertificate", name });
  }

  /** Makes every balancer reopen the file of its access log. */
  reopenLogs(): void {
    for (const { connection } of this.followers.values()) connection?.send({ type: "reopenLog" });
  }

  /** Asks every balancer for the requests that instances have not finished. Resolves with the requests that arrived in time. */
  async openRequests(): Promise<OpenRequest[]> {
    const asked = [...this.followers.values()].flatMap(({ connection }) => connection ?? []);
    if (asked.length === 0) return [];
    const id = ++this.lastList;
    const found: OpenRequest[] = [];
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      let missing = asked.length;
      timer = setTimeout(resolve, MAX_LISTING_MS);
      this.lists.set(id, (requests) => {
        found.push(...requests.slice(0, MAX_LISTED));
        if (--missing === 0) resolve();
      });
      for (const connection of asked) connection.send({ type: "listOpen", id });
    });
    clearTimeout(timer);
    this.lists.delete(id);
    return found.sort((a, b) => b.ageMs - a.ageMs);
  }

  /** Handles the reply of a balancer. */
  listed({ id, requests }: OpenRequests): void {
    this.lists.get(id)?.(requests);
  }

  /** Continues the versions of an earlier supervisor: the next snapshot is newer than this one. */
  continueFrom(version: number): void {
    this.base = version;
  }

  /** Expects a balancer of an earlier supervisor, which follows that supervisor's snapshot and has not connected yet. */
  expect(id: string): void {
    this.followers.set(id, { ...NEW_FOLLOWER, connection: null });
  }

  /**
   * Registers a balancer that said hello, for the first time or again. Its next `applied` reports the version that it follows, and the
   * leaving upstreams that it still uses.
   * @param follows the version that it follows now. If it is a later one of an earlier supervisor, our versions continue above it
   */
  join(id: string, connection: ChannelConnection, follows = 0): void {
    const known = this.followers.get(id) ?? NEW_FOLLOWER;
    this.followers.set(id, { ...known, hasJoined: true, connection });
    // Sent before the snapshot, which makes the balancer listen.
    for (const message of this.certificates) connection.send(message);
    if (!known.hasJoined && follows >= this.version) {
      this.base = follows;
      if (this.snapshot !== null) this.renumber(this.snapshot);
      for (const entry of this.leaving.values()) entry.version = this.version;
      return;
    }
    if (this.snapshot !== null) connection.send(this.snapshot);
  }

  lostChannel(id: string): void {
    const follower = this.followers.get(id);
    if (follower !== undefined) follower.connection = null;
  }

  /** Removes a balancer or an upstream whose process has exited. */
  gone(id: string): void {
    this.followers.delete(id);
    this.leaving.delete(id);
    this.check();
  }

  /** Records that the newest snapshot no longer contains this upstream. */
  leave(upstream: string): void {
    this.leaving.set(upstream, { version: this.version, hasLeft: false });
    this.check();
  }

  /** Called when the upstream is in its pool again: balancers that still finish earlier requests there no longer affect it. */
  rejoin(upstream: string): void {
    this.leaving.delete(upstream);
  }

  /** Returns the balancers that do not yet follow the snapshot with which this upstream left. */
  lateFor(upstream: string): string[] {
    return this.late(this.leaving.get(upstream)?.version ?? 0);
  }

  applied(id: string, { version, leaving, busy = [], listening, certificates = 0 }: Omit<Applied, "type">): void {
    const follower = this.followers.get(id);
    if (follower === undefined) return;
    follower.applied = version;
    follower.leaving = new Set(leaving);
    follower.busy = new Set(busy);
    follower.listening = listening;
    follower.certificates = certificates;
    this.check();
  }

  /** Returns the version of the snapshot that a balancer follows; 0 before its first. */
  appliedVersion(id: string): number {
    return this.followers.get(id)?.applied ?? 0;
  }

  /** Waits until every balancer follows this version or a later one. Resolves with the balancers that do not within `timeoutMs`. */
  async whenApplied(version: number, timeoutMs: number): Promise<string[]> {
    await this.wait(() => this.late(version).length === 0, timeoutMs);
    return this.late(version);
  }

  /** Resolves with true once `isIdle` is true, or with false after `timeoutMs`. */
  whenIdle(upstreams: readonly string[], version: number, timeoutMs: number): Promise<boolean> {
    return this.wait(() => this.isIdle(upstreams, version), timeoutMs);
  }

  /** Whether every balancer follows this version or a later one and has no requests on these drained upstreams. */
  isIdle(upstreams: readonly string[], version: number): boolean {
    const isBusy = ({ busy, leaving }: Follower) => upstreams.some((id) => busy.has(id) || leaving.has(id));
    return this.late(version).length === 0 && ![...this.followers.values()].some(isBusy);
  }

  /** Resolves with true when every balancer has closed its listening sockets, or with false after `timeoutMs`. */
  whenNoneListens(timeoutMs: number): Promise<boolean> {
    return this.wait(() => [...this.followers.values()].every((follower) => !follower.listening), timeoutMs);
  }

  private wait(check: () => boolean, timeoutMs: number): Promise<boolean> {
    if (check()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (reached: boolean) => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        resolve(reached);
      };
      const waiter: Waiter = { check, done: () => end(true) };
      const timer = setTimeout(() => end(false), timeoutMs);
      this.waiters.add(waiter);
    });
  }

  private late(version: number): string[] {
    return [...this.followers].filter(([, { applied }]) => applied < version).map(([id]) => id);
  }

  private check(): void {
    for (const waiter of [...this.waiters]) if (waiter.check()) waiter.done();
    for (const [upstream, entry] of [...this.leaving]) {
      if (this.late(entry.version).length > 0) continue;
      if (!entry.hasLeft) this.report(upstream, "left");
      entry.hasLeft = true;
      if ([...this.followers.values()].some(({ leaving }) => leaving.has(upstream))) continue;
      this.leaving.delete(upstream);
      this.report(upstream, "released");
    }
  }
}
