/** Starts a real balancer process on an inherited socket, with this test as its supervisor. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type {
  Applied,
  BalancerLimits,
  BalancerStats,
  CertificateEntry,
  Certificates,
  ChildMessage,
  Snapshot,
  SnapshotPool,
  UpstreamProtocol,
} from "@paceline/wire";
import { BALANCER_LIMITS } from "@paceline/wire/limits";
import { makeCertificate } from "../../../../test/support/certificate.js";
import { Changes } from "./changes.js";
import { spokenAt } from "./raw-client.js";

export const RUNTIMES = ["bun", "node"] as const;
/** A runtime with the protocol that the clients of its port speak (RawClient reads it). */
export type Runtime = (typeof RUNTIMES)[number] | `${(typeof RUNTIMES)[number]} with ${"TLS" | "HTTP/2"}`;

export const PROTOCOLS = ["http1", "lane"] as const satisfies readonly UpstreamProtocol[];
export type Protocol = (typeof PROTOCOLS)[number];

/** Each transport with each upstream protocol. */
export const SETUPS = RUNTIMES.flatMap((runtime) => PROTOCOLS.map((protocol) => [runtime, protocol] as const));

/** The same setups, and each runtime with TLS over one of the protocols: the code above TLS does not depend on it. */
export const SECURE_SETUPS: readonly (readonly [Runtime, Protocol])[] = [
  ...SETUPS,
  ["bun with TLS", "lane"],
  ["node with TLS", "http1"],
];

/** The same setups, and clients of HTTP/2, for rules that hold for every client protocol. */
export const CLIENT_SETUPS: readonly (readonly [Runtime, Protocol])[] = [...SECURE_SETUPS, ["bun with HTTP/2", "lane"]];
export const CLIENT_RUNTIMES: readonly Runtime[] = [...RUNTIMES, "node with TLS", "bun with HTTP/2"];

/** Deadlines that a busy machine does not exceed by accident; a test of one of them sets it. */
export const LIMITS: BalancerLimits = {
  ...BALANCER_LIMITS,
  headTimeoutMs: 60_000,
  handshakeTimeoutMs: 60_000,
  upstreamConnectTimeoutMs: 60_000,
  // The upstreams are in the process of the test: a delayed test is not a stalled instance.
  stallAfterMs: 60_000,
  maxBodyBytes: 10_000_000,
  maxConnections: 10_000,
  maxQueue: 100,
  bodyTimeoutMs: 60_000,
  minBodyBytesPerSecond: 0,
  keepAliveTimeoutMs: 60_000,
  upstreamResponseTimeoutMs: 60_000,
  sendTimeoutMs: 60_000,
  tunnelIdleTimeoutMs: 60_000,
  upstreamIdleTimeoutMs: 60_000,
  maxSpoolBytes: 0,
  idleDrainMs: 300,
};

const BIN = fileURLToPath(new URL("../../../supervisor/dist/programs/balancer/bin.js", import.meta.url));

/** Returns the path of the program that runs the balancer. */
export function runtimePath(runtime: Runtime): string {
  if (runtime.startsWith("node")) return process.execPath;
  const require = createRequire(new URL("../../../supervisor/package.json", import.meta.url));
  const { platform, arch } = process;
  const manifest = require.resolve(`@oven/bun-${platform}-${arch === "arm64" ? "aarch64" : arch}/package.json`);
  return path.join(path.dirname(manifest), "bin/bun");
}

let certificate: CertificateEntry | undefined;

/** Returns a certificate for `a.test` and 127.0.0.1. */
export function testCertificate(): CertificateEntry {
  if (certificate !== undefined) return certificate;
  const made = makeCertificate("a.test");
  if (made === undefined) throw new Error("openssl is not installed");
  const { cert: certificatePem, key: keyPem } = made;
  certificate = { names: ["a.test"], certificatePem, keyPem, source: "file", notAfter: Date.now() + 86_400_000 };
  return certificate;
}

/** Binds without listening, like the supervisor on Node. */
function bind(): { fd: number; port: number; close(): void } {
  const create = (net as unknown as { _createServerHandle(host: string, port: number, family: number): BoundHandle })
    ._createServerHandle;
  const handle = create("127.0.0.1", 0, 4);
  const address = { port: 0 };
  handle.getsockname(address);
  return { fd: handle.fd, port: address.port, close: () => handle.close() };
}

interface BoundHandle {
  fd: number;
  getsockname(out: { port: number }): number;
  close(): void;
}

/** Processes that earlier tests returned, by runtime and limits. */
const idle = new Map<string, BalancerProcess[]>();
/** How long a process may take to drop a test's upstreams; it drops them immediately if the test has closed them. */
const EMPTY_WITHIN_MS = 2000;

export class BalancerProcess {
  readonly directory = mkdtempSync(path.join(tmpdir(), "paceline-balancer-"));
  port = 0;
  output = "";
  /** The upstream protocol for upstreams in a snapshot without one. */
  protocol: UpstreamProtocol = "http1";
  /** Used if `maxSpoolBytes` is not 0. */
  readonly spoolDir = path.join(this.directory, "spool");
  private version = 0;
  private certified = 0;
  private asked = 0;
  private isSecure = false;
  private child: ChildProcess | undefined;
  private closed: Promise<unknown> | undefined;
  private link: net.Socket | undefined;
  private readonly linkServer = net.createServer();
  private listening: ReturnType<typeof bind> | undefined;
  private readonly heard: ChildMessage[] = [];
  private readonly changes = new Changes();
  /**
   * The pool of upstreams that are given without one. Each lease has a different name, because the balancer remembers what crashed
   * processes.
   */
  poolName = "web";
  private leases = 0;
  /** The key under which it is returned; undefined if it cannot be used again. */
  private leasedAs: string | undefined;

  /**
   * Takes a process that an earlier test of the same file returned, or starts one, which takes 0.1 s. Its counters continue. A test must
   * end with `giveBack`, and the file with `stopIdle`.
   */
  static async lease(runtime: Runtime, limits: Partial<BalancerLimits> = {}): Promise<BalancerProcess> {
    const key = `${runtime} ${JSON.stringify(limits)}`;
    const known = idle.get(key)?.pop();
    const balancer = known ?? (await BalancerProcess.start(runtime, limits));
    balancer.leasedAs = key;
    balancer.output = "";
    balancer.poolName = `web${++balancer.leases}`;
    return balancer;
  }

  /** Stops the processes that were returned. */
  static async stopIdle(): Promise<void> {
    const all = [...idle.values()].flat();
    idle.clear();
    await Promise.all(all.map((balancer) => balancer.stop()));
  }

  static async start(runtime: Runtime, limits: Partial<BalancerLimits> = {}, trustedProxies: string[] = []) {
    const balancer = new BalancerProcess({ ...LIMITS, ...limits }, trustedProxies);
    await balancer.start(runtime);
    return balancer;
  }

  private constructor(
    private readonly limits: BalancerLimits,
    private readonly trustedProxies: string[],
  ) {}

  private async start(runtime: Runtime): Promise<void> {
    const linkPath = path.join(this.directory, "channel.sock");
    this.linkServer.listen(linkPath);
    this.linkServer.on("connection", (socket) => {
      this.link = socket;
      socket.on("error", () => {});
      let rest = "";
      socket.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() as string;
        for (const line of lines) this.heard.push(JSON.parse(line));
        this.changes.tell();
      });
    });
    this.listening = bind();
    this.port = this.listening.port;
    // With this variable, all tests run over TLS.
    const isHttp2 = runtime.endsWith("HTTP/2");
    if (isHttp2 || runtime.endsWith("TLS") || process.env.PACELINE_TEST_TLS === "1") {
      this.isSecure = true;
      spokenAt.set(this.port, isHttp2 ? "HTTP/2" : "TLS");
    }
    this.child = spawn(runtimePath(runtime), [BIN], {
      stdio: ["ignore", "pipe", "pipe", this.listening.fd],
      env: {
        PATH: process.env.PATH,
        PACELINE_CHANNEL: linkPath,
        PACELINE_TOKEN: "secret",
        PACELINE_ATTEMPT: "1",
        PACELINE_SPEC: JSON.stringify({ orphanGraceMs: 60_000, drainTimeoutMs: 5000, reportEveryMs: 50 }),
        PACELINE_POOL: "balancer",
        PACELINE_INSTANCE: "balancer.1",
        PACELINE_INDEX: "1",
        PACELINE_GENERATION: "1",
      },
    });
    this.closed = once(this.child, "close");
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (text) => {
        this.output += text;
      });
    }
    await this.hears((message) => message.type === "hello");
    this.say({ type: "welcome" });
    if (this.isSecure) this.certify();
  }

  /** Sends a certificate for `a.test`, or the given ones. */
  certify(entries: CertificateEntry[] = [testCertificate()], more: Partial<Certificates> = {}): void {
    const ticketKey = Buffer.alloc(48, 7).toString("base64");
    const challenges = { http01: [], alpn01: [] };
    const version = ++this.certified;
    this.say({ type: "certificates", version, minVersion: "1.2", entries, ticketKey, challenges, ...more });
  }

  /** Sends a snapshot with this pool or these pools, and waits until the balancer follows it. */
  async follow(
    upstreams: Record<string, string>,
    pools?: SnapshotPool[],
    more: Partial<Pick<Snapshot, "probes" | "stopping" | "rateLimits" | "listen" | "hsts" | "identity">> = {},
  ): Promise<Applied> {
    this.version++;
    const { version } = this;
    this.say({
      type: "snapshot",
      version,
      listen: [{ fd: 3, address: "127.0.0.1", ...(this.isSecure && { tls: true }) }],
      pools: (pools ?? [pool(this.poolName, ["/"], upstreams)]).map((described) => ({
        ...described,
        upstreams: described.upstreams.map((upstream) => ({ protocol: this.protocol, ...upstream })),
      })),
      trustedProxies: this.trustedProxies,
      spoolDir: this.spoolDir,
      limits: this.limits,
      ...more,
    });
    const isApplied = (message: ChildMessage) => message.type === "applied" && message.version === version;
    return (await this.hears(isApplied)) as Applied;
  }

  say(message: { type: string } & Record<string, unknown>): void {
    if (message.type === "drain") this.leasedAs = undefined;
    this.link?.write(`${JSON.stringify(message)}\n`);
  }

  /** Returns the first matching message, earlier or later. */
  async hears(fits: (message: ChildMessage) => boolean, timeoutMs?: number): Promise<ChildMessage> {
    const failure = () => `the balancer did not say it in time; its output: ${this.output}`;
    await this.changes.until(() => this.heard.some(fits), failure, timeoutMs);
    return this.heard.find(fits) as ChildMessage;
  }

  /** Returns the next matching report. It may be from a time before this call if this process was delayed; see `reportsNow`. */
  async reports(fits: (stats: BalancerStats) => boolean): Promise<BalancerStats> {
    this.heard.splice(0, this.heard.length, ...this.heard.filter((message) => message.type !== "stats"));
    const isFit = (message: ChildMessage) =>
      message.type === "stats" && message.role === "balancer" && fits(message as BalancerStats);
    return (await this.hears(isFit)) as BalancerStats;
  }

  /** Returns a matching report from a time after this call. */
  async reportsNow(fits: (stats: BalancerStats) => boolean = () => true): Promise<BalancerStats> {
    const id = ++this.asked;
    this.say({ type: "listOpen", id });
    // Messages arrive in the order in which they were sent.
    await this.hears((message) => message.type === "open" && message.id === id);
    return this.reports(fits);
  }

  get pid(): number {
    return this.child?.pid as number;
  }

  /** Resolves with its exit status when `output` is complete. */
  async exited(): Promise<number | null> {
    await this.closed;
    return this.child?.exitCode ?? null;
  }

  /** Ends a lease; the test has closed its clients and upstreams. */
  async giveBack(): Promise<void> {
    const { leasedAs } = this;
    if (leasedAs === undefined || !(await this.emptied())) return this.stop();
    this.protocol = "http1";
    this.heard.length = 0;
    idle.set(leasedAs, [...(idle.get(leasedAs) ?? []), this]);
  }

  /** Resolves with whether the process runs and has no upstreams left. */
  private async emptied(): Promise<boolean> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return false;
    try {
      await this.follow({}, []);
      const { version } = this;
      const isEmpty = (message: ChildMessage) =>
        message.type === "applied" && message.version === version && message.leaving.length === 0;
      await this.hears(isEmpty, EMPTY_WITHIN_MS);
    } catch {
      return false;
    }
    return true;
  }

  async stop(): Promise<void> {
    if (this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGKILL");
      await once(this.child, "exit");
    }
    this.link?.destroy();
    this.linkServer.close();
    this.listening?.close();
    spokenAt.delete(this.port);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Returns a pool of a snapshot; `upstreams` maps process ids such as `web.1#1` to socket paths. */
export function pool(name: string, routes: string[], upstreams: Record<string, string>): SnapshotPool {
  return {
    name,
    routes,
    upstreams: Object.entries(upstreams).map(([id, socket]) => ({ id, name: id.split("#")[0] as string, socket })),
  };
}
