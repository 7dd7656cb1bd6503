/** A balancer process; the supervisor starts it. */
import { dirname } from "node:path";
import {
  type Certificates,
  ChannelClient,
  type ChildIdentity,
  collectAtRest,
  heapBytes,
  type Measured,
  Reporter,
  type Snapshot,
  type SupervisorProgram,
  showTitle,
  survivesFullDisk,
  takeChildEnvironment,
} from "@paceline/wire";
import { type AccessLogRule, COMBINED } from "@paceline/wire/access-log";
import { MAX_TIMER_MS } from "@paceline/wire/limits";
import { Balancer } from "./balancer.js";
import { Revival, spawnSupervisor } from "./next-supervisor.js";
import type { Tls } from "./tls/index.js";
import type { Transport } from "./transport/transport.js";
import { CountsFiles } from "./upstreams/counts-files.js";

/** The time limit for the final report before the exit, in milliseconds. */
const FINAL_REPORT_MS = 500;
/** The descriptor of the output file, which the supervisor reads line by line. */
const STDOUT = 1;
const FIRST_FD = 3;
/** The rule that applies if the configuration is from a version in which the access log was only on or off. */
const DEFAULT_ACCESS_LOG: AccessLogRule = { format: COMBINED, sample: 1 };

class BalancerProcess {
  private balancer: Balancer | undefined;
  private readonly channel: ChannelClient;
  private readonly revival: Revival;
  private reporter: Reporter | undefined;
  private isReportDue = false;
  private isExiting = false;
  /** TLS, once there are certificates. `awaited` is the snapshot that waits for them. */
  private tls: Tls | undefined;
  private loading: Promise<Tls> | undefined;
  private awaited: Snapshot | undefined;
  /** The inherited sockets. */
  private listening: number[];

  constructor(
    private readonly identity: ChildIdentity,
    private readonly transport: Transport,
  ) {
    this.listening = Array.from({ length: identity.spec.listens ?? 0 }, (_, at) => FIRST_FD + at);
    this.revival = new Revival(identity.spec.restart, {
      isNeeded: () => !this.isExiting && this.balancer?.isDraining !== true && !this.channel.welcomed,
      log,
    });
    this.channel = new ChannelClient({
      identity,
      role: "balancer",
      helloState: () => ({
        phase: this.balancer === undefined ? "starting" : this.balancer.isDraining ? "draining" : "ready",
        snapshotVersion: this.balancer?.version ?? 0,
      }),
      onWelcome: (supervisor) => {
        this.revival.found(supervisor);
        this.reportApplied();
        // A new supervisor knows only older counts.
        this.balancer?.reportAllRoutes();
        this.reporter?.reportNow();
      },
      onSnapshot: (snapshot) => this.followWhenSecure(snapshot),
      onCertificates: (certificates) => void this.certify(certificates),
      onNoCertificate: (name) => this.tls?.wanted.settle(name),
      onDrain: (deadlineMs) => this.drain(deadlineMs),
      onLost: () => this.revival.lost(),
      onReopenLog: () => this.balancer?.reopenAccessLog(),
      onListOpen: (id) => void this.channel.send({ type: "open", id, requests: this.balancer?.openRequests() ?? [] }),
      onSpawnSupervisor: (program) => void this.spawnSupervisor(program),
      onRefused: (reason) => this.drainBy(`the supervisor refuses this process: ${reason}`),
      onOrphaned: () => this.drainBy("no supervisor came back"),
      onProblem: log,
    });
  }

  start(): void {
    // Ctrl-C in a terminal also reaches the supervisor, which drains its children.
    process.on("SIGINT", () => {});
    process.on("SIGTERM", () => this.drain(this.identity.spec.drainTimeoutMs));
    this.channel.start();
    this.revival.begin(this.identity.spec.supervisor);
  }

  /**
   * Applies the snapshot when the certificates that it needs are loaded. The certificates arrive before the snapshot, but their code is
   * loaded on demand.
   */
  private followWhenSecure(snapshot: Snapshot): void {
    this.awaited = undefined;
    if ((this.tls?.contexts.version ?? 0) === 0 && snapshot.listen.some(({ tls }) => tls === true))
      this.awaited = snapshot;
    else this.follow(snapshot);
  }

  private async certify(certificates: Certificates): Promise<void> {
    this.loading ??= import("./tls/index.js").then(({ tlsOf }) =>
      tlsOf(log, (name) => void this.channel.send({ type: "wantCertificate", name })),
    );
    this.tls = await this.loading;
    const { contexts, wanted } = this.tls;
    if (!contexts.follow(certificates)) return;
    this.balancer?.challenge(contexts.http01);
    wanted.certified((name) => contexts.has(name));
    if (this.awaited === undefined) this.reportApplied();
    else this.followWhenSecure(this.awaited);
  }

  private follow(snapshot: Snapshot): void {
    if (this.balancer !== undefined) {
      // Before the connections of a removed upstream are closed, its abandoned requests must be reported. Its last responses must be
      // reported while the upstream is known.
      if (this.balancer.counters.abandoned > 0 || this.balancer.removesNews(snapshot)) this.reporter?.reportNow();
      this.balancer.apply(snapshot);
      return this.reportApplied();
    }
    // Limits and listening sockets are fixed for the life of the process; changes apply to its replacement.
    const balancer = new Balancer({
      transport: this.transport,
      limits: snapshot.limits,
      trustedProxies: snapshot.trustedProxies,
      rateLimits: snapshot.rateLimits ?? [],
      spoolDir: snapshot.spoolDir,
      countsFiles: countsFilesOf(this.identity),
      accessLog: snapshot.accessLog === true ? (snapshot.accessLogRule ?? DEFAULT_ACCESS_LOG) : undefined,
      outputFd: STDOUT,
      identity: snapshot.identity,
      onChanged: () => this.reportApplied(),
      onDrained: () => void this.exit(),
      onOverdue: () => this.reportSoon(),
      onEjection: () => this.reportSoon(),
      onLost: (lost) => void this.channel.send({ type: "lost", ...lost }),
      onRecorded: (requests, lost) => this.channel.send({ type: "recorded", requests, lost }),
      onSpans: snapshot.spans ? (spans, lost) => this.channel.send({ type: "spans", spans, lost }) : undefined,
      onPoison: (found) => void this.channel.send({ type: "poison", ...found }),
      onProblem: log,
      onNotice: (message, kind) =>
        void this.channel.send({ type: "notice", message, ...(kind !== undefined && { kind }) }),
    });
    balancer.apply(snapshot);
    balancer.challenge(this.tls?.contexts.http01);
    try {
      for (const { fd, address, proxied: isProxied = false, tls, redirect } of snapshot.listen) {
        if (snapshot.limits.maxStreamsPerConnection > 0) this.tls?.contexts.offerHttp2();
        const service = tls === true ? this.tls?.service : undefined;
        balancer.listen({ fd, isUnix: address.startsWith("unix:"), isProxied, tls: service, redirect });
      }
    } catch (error) {
      return this.fail(`cannot listen on an inherited socket: ${(error as Error).message}`);
    }
    this.balancer = balancer;
    this.listening = snapshot.listen.map(({ fd }) => fd);
    const { counters } = balancer;
    this.reporter = new Reporter({
      activity: () => counters.activity,
      inFlight: () => counters.inFlight + counters.abandoned,
      report: (measured) => this.report(balancer, measured),
      onRest: collectAtRest,
      everyMs: this.identity.spec.reportEveryMs,
    });
    this.reporter.start();
    this.reportApplied();
    this.channel.send({ type: "ready" });
  }

  private async spawnSupervisor(program: SupervisorProgram): Promise<void> {
    const reply = (pid: number | null, problem?: string) =>
      this.channel.send({ type: "supervisorSpawned", pid, ...(problem !== undefined && { problem }) });
    // A draining balancer has closed its listening sockets, or is about to.
    if (this.isExiting || this.balancer?.isDraining === true || this.listening.length === 0)
      return void reply(null, "it holds no listening sockets");
    try {
      reply(await spawnSupervisor(program, this.listening, dirname(this.identity.channel)));
    } catch (error) {
      reply(null, (error as Error).message);
    }
  }

  /** Reports at most once per check of the deadlines, so that a rollout does not wait for the next regular report. */
  private reportSoon(): void {
    if (this.isReportDue) return;
    this.isReportDue = true;
    setImmediate(() => {
      this.isReportDue = false;
      this.reporter?.reportNow();
    });
  }

  private reportApplied(): void {
    const { balancer } = this;
    if (balancer === undefined) return;
    const { version, leaving, busy, isListening } = balancer;
    this.channel.send({
      ...{ type: "applied", version, leaving, listening: isListening },
      ...(busy.length > 0 && { busy }),
      ...(this.tls !== undefined && { certificates: this.tls.contexts.version }),
    });
  }

  private report(balancer: Balancer, measured: Measured): boolean {
    const { counters } = balancer;
    return this.channel.send({
      type: "stats",
      role: "balancer",
      connections: counters.connections,
      connectionsTotal: counters.connectionsTotal,
      requestsTotal: counters.requestsTotal,
      errorsTotal: counters.errorsTotal,
      retriesTotal: counters.retriesTotal,
      hedgesTotal: counters.hedgesTotal,
      hedgesWonTotal: counters.hedgesWonTotal,
      inFlight: counters.inFlight,
      latency: counters.latency.takeSparse(),
      ...measured,
      heapBytes: heapBytes(),
      noRoomTotal: counters.noRoomTotal,
      ...balancer.takeStats(),
    });
  }

  private drainBy(reason: string): void {
    log(`${reason}; draining`);
    this.drain(this.identity.spec.drainTimeoutMs);
  }

  private drain(deadlineMs: number): void {
    if (this.balancer === undefined) return void this.exit();
    if (this.balancer.isDraining) return;
    setTimeout(
      () => {
        log(`${this.balancer?.counters.connections} connections cut off at the drain's deadline`);
        void this.exit();
      },
      Math.min(deadlineMs, MAX_TIMER_MS),
    );
    this.balancer.drain();
  }

  private fail(message: string): void {
    log(message);
    this.channel.send({ type: "fault", message });
    void this.exit(1);
  }

  private async exit(status = 0): Promise<void> {
    if (this.isExiting) return;
    this.isExiting = true;
    this.reporter?.reportNow();
    this.balancer?.close();
    await this.channel.flush(FINAL_REPORT_MS);
    process.exit(status);
  }
}

async function chooseTransport(): Promise<Transport> {
  if (process.versions.bun !== undefined) return (await import("./transport/bun.js")).bunTransport();
  return (await import("./transport/node.js")).nodeTransport();
}

/** The file names contain slot and attempt, as the names of processes do. */
function countsFilesOf({ name, attempt, spec }: ChildIdentity): CountsFiles | undefined {
  return spec.countsFolder === undefined ? undefined : new CountsFiles(spec.countsFolder, `${name}#${attempt}`);
}

/**
 * Writes to the output file, which the supervisor reads line by line. On Bun, a write to process.stderr on a full disk ends the process.
 */
function log(message: string): void {
  console.error(message);
}

survivesFullDisk();
const identity = takeChildEnvironment();
if (identity === undefined) {
  log("a balancer is started by `paceline start`, not by itself");
  process.exit(2);
}
showTitle();
new BalancerProcess(identity, await chooseTransport()).start();
