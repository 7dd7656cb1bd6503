/** The supervisor from start to end; parts.ts creates and connects its parts. */
import { AdminListener } from "./control/admin-listener.js";
import type {
  DeathDetails,
  FigureHistory,
  Heir,
  OpenRequestStatus,
  OperationResult,
  PageAccess,
  ProgressListener,
  Status,
  SupervisorApi,
} from "./control/api.js";
import { type Fleet, findPool, processId } from "./core/fleet.js";
import type { Caller } from "./core/history.js";
import type { FleetConfig } from "./core/model.js";
import { HAS_STOPPED, isAbout } from "./core/words.js";
import { endFleet, freezeForHeir, stopPools } from "./ending.js";
import { type Family, type TextFormat, textOf } from "./metrics/exposition.js";
import { familiesOf } from "./metrics/families.js";
import { diffFleet } from "./operations/fleet-diff.js";
import { readiness, wantedSlots } from "./operations/fleet-questions.js";
import { callerVia } from "./operations/history.js";
import { Observers } from "./operations/observers.js";
import { STOPPING } from "./operations/operations.js";
import { OperatorCommands } from "./operations/operator-commands.js";
import { Records } from "./operations/records.js";
import { watchSignals } from "./operations/signals.js";
import { buildStatus } from "./operations/status.js";
import type { Watch } from "./operations/watch/watch.js";
import { Parts } from "./parts.js";
import { BALANCER_POOL } from "./processes/live-process.js";
import { detailsOf, readReports } from "./run-dir/death-files.js";
import { PageToken } from "./run-dir/page-token.js";
import { layOut, openCertificates, openSockets, startParts, watchFiles } from "./starting.js";
import type { FleetOutcome, Supervisor, SupervisorOptions } from "./supervisor-options.js";
import { TakeOver } from "./take-over.js";

/** Of a fleet without an https address. */
const NO_CERTIFICATES: SupervisorApi["certificates"] = {
  views: () => [],
  renew: async () => ({ ok: false, code: "invalid", message: "no address of this fleet is https; see docs/tls.md" }),
};
/** The most deaths that clients get. */
const MAX_DEATHS = 100;

/** Creates a supervisor; nothing is started yet. */
export function createSupervisor(options: SupervisorOptions): Supervisor {
  return new FleetSupervisor(options);
}

class FleetSupervisor implements Supervisor {
  readonly ended: Promise<FleetOutcome>;
  private resolveEnded: (end: FleetOutcome) => void = () => {};
  private readonly startedAt: number;
  private readonly parts: Parts;
  private readonly commands: OperatorCommands;
  private readonly admin: AdminListener;
  private readonly pageToken: PageToken;
  readonly records: Records;
  private readonly observers: Observers;
  private stopping: Promise<OperationResult> | undefined;
  private unwatchSignals = () => {};
  /** What a stop does after the fleet was handed over. */
  private stopInstead: (() => void) | undefined;
  private watch: Watch | undefined;
  private takeOver: TakeOver | undefined;

  constructor(private readonly options: SupervisorOptions) {
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.parts = new Parts(options);
    this.commands = new OperatorCommands(this.parts, {
      onReloading: () => options.observer?.reloading(),
      onReloadEnded: (result, pool) => {
        options.observer?.reloaded(result);
        if (result.ok) this.watch?.reloaded(pool);
      },
      onConfigChanged: () => {
        this.listenBeside();
        if (!this.parts.isStopping) void this.parts.certificates?.follow(this.parts.configs.fleet);
      },
      onConfigInService: () => {
        this.takeOver?.reloaded();
        options.onReloaded?.();
      },
    });
    const warn = (message: string) => this.warn(message);
    this.pageToken = new PageToken(options.runDir.path, warn);
    this.records = new Records(options.runDir);
    this.admin = new AdminListener({ warn, supervisor: this, token: () => this.tokenOfPage() });
    const { runDir, version, environment } = options;
    this.observers = new Observers({
      ...this.parts,
      ...{ runDir: runDir.path, version, environment, isStopping: () => this.parts.isStopping },
      families: () => this.families(),
      problem: () => options.problem?.() ?? this.parts.state.problem,
      logStatus: () => options.logStatus?.() ?? null,
    });
    this.parts.onSpans = (recorded) => this.observers.heard(recorded);
    const { startedAt = Date.now() } = options.adoption?.state ?? {};
    this.startedAt = performance.now() - Math.max(0, Date.now() - startedAt);
  }

  // Start.

  async start(): Promise<void> {
    const { parts, options } = this;
    if (!(await openSockets(parts, options))) return;
    // From the first event on.
    await this.observers.follow();
    this.watchSignals();
    startParts(parts, options);
    await openCertificates(parts, options);
    this.listenBeside();
    this.recordStart();
    if (parts.adoption === undefined) layOut(parts, options);
    else {
      const reload = () => this.reload(undefined, undefined, () => {}, callerVia("start"));
      const isDeployed = () => options.deploySource.isDeployed;
      this.takeOver = new TakeOver(parts, parts.adoption, { ...options, reload, isDeployed });
    }
    if (options.watch === undefined) return;
    const watched = { ...options.watch, runDir: options.runDir.path };
    this.watch = await watchFiles(parts, watched, (pool) => this.reload(pool, undefined, () => {}, callerVia("watch")));
  }

  /** Listens where the configuration in service says, beside the addresses of the fleet. */
  private listenBeside(): void {
    const { agentCheck, configs } = this.parts;
    if (this.parts.isStopping) return;
    agentCheck.listen(configs.fleet.agentCheck ?? null);
    this.admin.listen(configs.fleet.admin?.listen ?? null);
    void this.observers.follow();
  }

  private recordStart(): void {
    const { parts, options } = this;
    parts.history.settle();
    if (options.startedBy === undefined) return;
    const detail = parts.adoption === undefined ? undefined : "takes over the fleet of a killed supervisor";
    const record = parts.history.begin({ command: "start", detail, by: options.startedBy });
    // After the pools are added.
    queueMicrotask(() => void this.waitReady().then((result) => record.end(result)));
  }

  private watchSignals(): void {
    const { log, runner, configs } = this.parts;
    this.unwatchSignals = watchSignals({
      log,
      stop: (signal) => void this.stop(callerVia(signal)),
      stopNow: () => this.stopNow(),
      reload: (signal) => this.reload(undefined, undefined, () => {}, callerVia(signal)),
      scale: (pool, instances, signal) => this.scale(pool, { instances }, () => {}, callerVia(signal)),
      firstPool: () => findPool(runner.fleet, configs.fleet.pools[0]?.name ?? ""),
    });
  }

  // Control socket requests.

  status(): Status {
    const { parts, options } = this;
    const wanted = wantedSlots(parts.runner.fleet);
    // Without pools if the control socket responds before they are added.
    const allReady = parts.runner.fleet.pools.length > 0 && wanted.every(({ name }) => parts.slots.of(name).everReady);
    return buildStatus({
      ...parts,
      fleet: parts.runner.fleet,
      startedAt: this.startedAt,
      version: options.version,
      state: parts.isStopping ? "stopping" : allReady ? "running" : "starting",
      listen: parts.urls,
      watch: this.watch?.status ?? null,
      problem: options.problem?.() ?? parts.state.problem,
      logStatus: options.logStatus?.() ?? null,
      rolledBack: options.rolledBack ?? null,
    });
  }

  history(...args: Parameters<SupervisorApi["history"]>): FigureHistory {
    return this.parts.series.read(...args);
  }

  async openRequests(name?: string): Promise<{ requests: OpenRequestStatus[] }> {
    const open = await this.parts.coordination.openRequests();
    const requests = open.flatMap(({ upstream, ...request }) => {
      const slot = upstream.slice(0, upstream.indexOf("#"));
      return isAbout(slot, name) ? [{ name: slot, ...request }] : [];
    });
    return { requests };
  }

  deaths(): { deaths: DeathDetails[] } {
    return { deaths: readReports(this.options.runDir.deathsFolder).slice(0, MAX_DEATHS).map(detailsOf) };
  }

  page(): PageAccess {
    const { listen, mayWrite = false } = this.parts.configs.fleet.admin ?? {};
    if (listen == null) return { url: null, mayWrite };
    const { host, port } = listen;
    return { url: `http://${host.includes(":") ? `[${host}]` : host}:${port}/#token=${this.tokenOfPage()}`, mayWrite };
  }

  private tokenOfPage(): string | undefined {
    return this.pageToken.of(this.parts.configs.fleet.admin?.tokenFile);
  }

  metrics(format: TextFormat): string {
    return textOf(this.families(), format);
  }

  private families(): Family[] {
    const { children, runner, routes, configs } = this.parts;
    const slots = runner.fleet.pools.flatMap((pool) => pool.slots);
    const ids = new Map(slots.map(({ name, member }) => [name, processId(name, member.process.attempt)]));
    const latenciesOf = (slot: string) => children.get(ids.get(slot) ?? "")?.stats.latencyTotals;
    const pools = configs.fleet.pools.map(({ name }) => name);
    return familiesOf(this.status(), latenciesOf, routes.all(pools), this.certificates.views());
  }

  scale(...args: Parameters<SupervisorApi["scale"]>): Promise<OperationResult> {
    return this.commands.scale(...args);
  }

  reload(...args: Parameters<SupervisorApi["reload"]>): Promise<OperationResult> {
    return this.commands.reload(...args);
  }

  restart(...args: Parameters<SupervisorApi["restart"]>): Promise<OperationResult> {
    return this.commands.restart(...args);
  }

  turn(...args: Parameters<SupervisorApi["turn"]>): Promise<OperationResult> {
    return this.commands.turn(...args);
  }

  deploy(...args: Parameters<SupervisorApi["deploy"]>): Promise<OperationResult> {
    return this.commands.deploy(...args);
  }

  rollback(...args: Parameters<SupervisorApi["rollback"]>): Promise<OperationResult> {
    return this.commands.rollback(...args);
  }

  steerDeploy(...args: Parameters<SupervisorApi["steerDeploy"]>): OperationResult {
    return this.commands.steerDeploy(...args);
  }

  alerts(): ReturnType<SupervisorApi["alerts"]> {
    return { alerts: this.observers.alertStatus() };
  }

  testAlerts(onProgress: ProgressListener): Promise<OperationResult> {
    return this.observers.testAlerts(onProgress);
  }

  get certificates(): SupervisorApi["certificates"] {
    return this.parts.certificates ?? NO_CERTIFICATES;
  }

  lock(...args: Parameters<SupervisorApi["lock"]>): OperationResult {
    return this.commands.lock(...args);
  }

  unlock(...args: Parameters<SupervisorApi["unlock"]>): OperationResult {
    return this.commands.unlock(...args);
  }

  diff(...[pool, environment, release]: Parameters<SupervisorApi["diff"]>): Promise<OperationResult> {
    const { configs, children, runner, deploys, reload } = this.parts;
    const { peekConfig, loadConfig, runtimes, deploySource } = this.options;
    const sides =
      release === undefined
        ? { loadConfig: peekConfig ?? loadConfig, refusal: (next: FleetConfig) => reload.refusal(next, pool) }
        : {
            loadConfig: () => deploySource.peekRelease(release, configs.fleet.name),
            refusal: (next: FleetConfig) => deploys.refusalOf(next),
          };
    return diffFleet({ configs, children, fleet: () => runner.fleet, runtimes, ...sides }, pool, environment);
  }

  replaceConfig(config: object): string | undefined {
    const { replaceConfig } = this.options;
    return replaceConfig === undefined ? "the config of this fleet cannot be replaced" : replaceConfig(config);
  }

  async handOver(heir: Heir, by?: Caller): Promise<OperationResult> {
    const { parts } = this;
    const isRunning = this.status().state === "running";
    const begin = { command: "upgrade", detail: `from ${this.options.version} to ${heir.version}`, by } as const;
    const result = await parts.history.record(
      begin,
      () => {},
      async () => parts.locking.refusal() ?? freezeForHeir(parts, heir, { version: this.options.version, isRunning }),
    );
    if (!result.ok) return result;
    this.watch?.stop();
    const { sockets } = parts;
    // Kept open for the heir, and for this process if the heir fails.
    parts.sockets = [];
    this.admin.close();
    this.observers.close();
    parts.close();
    const handOver = { heir, sockets, wantsStop: false, forget: () => this.unwatchSignals() };
    this.stopInstead = () => {
      handOver.wantsStop = true;
    };
    // The caller receives its response before the control socket is closed.
    setImmediate(() => this.resolveEnded(handOver));
    const { version, program } = this.options;
    // By this the caller can go back.
    return program === undefined ? result : { ...result, details: { former: { version, ...program } } };
  }

  reopenAccessLogs(): void {
    this.parts.coordination.reopenLogs();
  }

  dump(...args: Parameters<SupervisorApi["dump"]>): Promise<OperationResult> {
    return this.parts.dumps.dump(...args);
  }

  async waitReady(): Promise<OperationResult> {
    const result = await this.readiness();
    await this.parts.state.saved();
    return result;
  }

  private async readiness(): Promise<OperationResult> {
    const { parts } = this;
    const settled = (fleet: Fleet) => {
      if (parts.isStopping) return STOPPING;
      const workloadOf = (pool: string) => parts.configs.pool(pool)?.workload;
      return fleet.pools.length === 0
        ? undefined
        : readiness(wantedSlots(fleet), parts.slots, "all ready", { workloadOf });
    };
    if (this.takeOver !== undefined) return this.takeOver.whenReady();
    // Bounded: starting has a deadline, and failures have a budget.
    return (await parts.runner.until(settled)) ?? STOPPING;
  }

  names(): string[] {
    const { runner, children } = this.parts;
    const { pools } = runner.fleet;
    return [
      ...pools.map(({ name }) => name),
      ...pools.flatMap(({ slots }) => slots.map(({ name }) => name)),
      ...[...children.templates.alive()].map(({ name }) => name),
      "paceline",
    ];
  }

  ownSockets(): number[] {
    const { inheritedSockets } = this.options;
    if (inheritedSockets?.isForeign) return [];
    try {
      return this.parts.sockets.map(({ fd }) => fd);
    } catch {
      return []; // Only balancers of an earlier supervisor have them.
    }
  }

  async replaceSockets(): Promise<void> {
    const { parts } = this;
    await parts.channel.listenAgain();
    parts.reopenFiles();
    // Balancers that are started afterwards find the new sockets of instances.
    for (const target of [undefined, BALANCER_POOL]) {
      const result = await this.restart(target, () => {});
      if (!result.ok && !parts.isStopping)
        this.warn(`not all was restarted: ${result.message}; run paceline restart all and paceline restart balancer`);
    }
  }

  warn(message: string): void {
    this.parts.log.event("warn", "paceline", message);
  }

  recentEvents(): ReturnType<SupervisorApi["recentEvents"]> {
    return this.parts.log.recentEvents();
  }

  recentLog(name: string | undefined): ReturnType<SupervisorApi["recentLog"]> {
    return this.parts.log.recentLog(name);
  }

  onEvent(...args: Parameters<SupervisorApi["onEvent"]>): () => void {
    return this.parts.log.onEvent(...args);
  }

  onRecorded(...[listener]: Parameters<SupervisorApi["onRecorded"]>): () => void {
    return this.parts.recordings.add(listener);
  }

  onLog(...args: Parameters<SupervisorApi["onLog"]>): () => void {
    return this.parts.log.onLog(...args);
  }

  // End.

  stop(by?: Caller): Promise<OperationResult> {
    if (this.stopInstead !== undefined) {
      this.stopInstead();
      return Promise.resolve(STOPPING);
    }
    this.stopping ??= this.parts.history.record(
      { command: "stop", by },
      () => {},
      () => this.end(),
    );
    return this.stopping;
  }

  private async end(): Promise<OperationResult> {
    const { parts, options } = this;
    parts.isStopping = true;
    parts.state.stopping();
    // Lets the caller see that the stop has started before it has consequences.
    await Promise.resolve();
    options.observer?.stopping();
    this.watch?.stop();
    const result = await endFleet(parts, options.runDir.channelSocket);
    this.unwatchSignals();
    this.admin.close();
    this.observers.close();
    parts.close();
    const said = result.ok ? HAS_STOPPED : "gave up: a process does not exit";
    parts.log.event(result.ok ? "info" : "error", "paceline", said);
    // The caller receives its response before the process exits.
    setImmediate(() => this.resolveEnded({ failed: !result.ok }));
    return result;
  }

  private stopNow(): void {
    void this.stop();
    this.parts.endPreDrain();
    stopPools(this.parts.runner);
    const { children } = this.parts;
    for (const child of children.alive()) children.signal(child.id, "SIGKILL");
  }
}
