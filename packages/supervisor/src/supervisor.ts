/** The supervisor from start to end. wiring.ts creates and connects its parts, fleet-view.ts has what clients see. */
import { AdminListener } from "./control/admin-listener.js";
import type { OperationResult, ProgressListener, SupervisorApi, SupervisorProgram } from "./control/api.js";
import { type Fleet, findPool } from "./core/fleet.js";
import type { Caller } from "./core/history.js";
import { HAS_STOPPED } from "./core/words.js";
import { endFleet, freezeForNextSupervisor, stopPools } from "./ending.js";
import { FleetView } from "./fleet-view.js";
import { readiness, wantedSlots, wereAllReady } from "./operations/fleet-questions.js";
import { callerVia } from "./operations/history.js";
import { OperatorCommands } from "./operations/operator-commands.js";
import { Receivers } from "./operations/receivers.js";
import { STOPPING } from "./operations/scale-and-restart.js";
import { watchSignals } from "./operations/signals.js";
import { BALANCER_POOL } from "./processes/live-process.js";
import { layOut, openCertificates, openSockets, startParts, watchFiles } from "./starting.js";
import type { FleetOutcome, Supervisor, SupervisorOptions } from "./supervisor-options.js";
import { TakeOver } from "./take-over.js";
import { FleetParts } from "./wiring.js";

/** Creates a supervisor; nothing is started yet. */
export function createSupervisor(options: SupervisorOptions): Supervisor {
  return new FleetSupervisor(new FleetParts(options), options);
}

class FleetSupervisor extends FleetView implements Supervisor {
  readonly ended: Promise<FleetOutcome>;
  private resolveEnded: (end: FleetOutcome) => void = () => {};
  private readonly commands: OperatorCommands;
  private readonly admin: AdminListener;
  private readonly receivers: Receivers;
  private stopping: Promise<OperationResult> | undefined;
  private unwatchSignals = () => {};
  /** What a stop does after the fleet was handed over. */
  private stopInstead: (() => void) | undefined;
  private takeOver: TakeOver | undefined;

  constructor(parts: FleetParts, options: SupervisorOptions) {
    super(parts, options);
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.commands = new OperatorCommands(parts, {
      onReloading: () => options.observer?.reloading(),
      onReloadEnded: (result, pool, by) => {
        options.observer?.reloaded(result);
        if (result.ok) this.watch?.reloaded(pool);
        // The results of signals and of --watch are logged in any case.
        else if (result.code === "config" && !/^(SIG|watch)/.test(by?.via ?? ""))
          this.warn(`a reload was refused: ${result.message.replaceAll("\n", "; ")}`);
      },
      onConfigChanged: () => {
        this.listenBeside();
        if (!parts.isStopping) void parts.certificates?.follow(parts.configs.fleet);
      },
      onConfigInService: () => {
        this.takeOver?.reloaded();
        options.onReloaded?.();
      },
    });
    const warn = (message: string) => this.warn(message);
    this.admin = new AdminListener({ warn, supervisor: this, token: () => this.tokenOfPage() });
    const { runDir, version, environment } = options;
    this.receivers = new Receivers({
      ...parts,
      ...{ runDir: runDir.path, version, environment, isStopping: () => parts.isStopping },
      families: () => this.families(),
      problem: () => this.problem(),
      logStatus: () => options.logStatus?.() ?? null,
    });
    parts.onSpans = (recorded) => this.receivers.heard(recorded);
  }

  // Start:

  async start(): Promise<void> {
    const { parts, options } = this;
    if (!(await openSockets(parts, options))) return;
    // Before the first event.
    await this.receivers.follow();
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
    void this.noteStarted();
    if (options.watch === undefined) return;
    const watched = { ...options.watch, runDir: options.runDir.path };
    this.watch = await watchFiles(parts, watched, (pool) => this.reload(pool, undefined, () => {}, callerVia("watch")));
  }

  /** Listens on the addresses that the configuration in service names apart from those of the fleet. */
  private listenBeside(): void {
    const { agentCheck, configs } = this.parts;
    if (this.parts.isStopping) return;
    agentCheck.listen(configs.fleet.agentCheck ?? null);
    this.admin.listen(configs.fleet.admin?.listen ?? null);
    void this.receivers.follow();
  }

  private recordStart(): void {
    const { parts, options } = this;
    parts.history.settle();
    if (options.startedBy === undefined) return;
    const detail = parts.adoption === undefined ? undefined : "takes over the fleet of a killed supervisor";
    const record = parts.history.begin({ command: "start", detail, by: options.startedBy });
    // Called after the pools are added.
    queueMicrotask(() => void this.waitReady().then((result) => record.end(result)));
  }

  private async noteStarted(): Promise<void> {
    const { runner, slots } = this.parts;
    const ready = runner.until((fleet) => wereAllReady(fleet, slots) || undefined);
    // A fleet that is taken over may have an instance that never becomes ready.
    await (this.takeOver === undefined ? ready : Promise.race([ready, this.takeOver.whenReady()]));
    this.hasStarted = true;
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

  // Commands:

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
    return { alerts: this.receivers.alertStatus() };
  }

  testAlerts(onProgress: ProgressListener): Promise<OperationResult> {
    return this.receivers.testAlerts(onProgress);
  }

  lock(...args: Parameters<SupervisorApi["lock"]>): OperationResult {
    return this.commands.lock(...args);
  }

  unlock(...args: Parameters<SupervisorApi["unlock"]>): OperationResult {
    return this.commands.unlock(...args);
  }

  replaceConfig(config: object): string | undefined {
    const { replaceConfig } = this.options;
    return replaceConfig === undefined ? "the config of this fleet cannot be replaced" : replaceConfig(config);
  }

  async handOver(next: SupervisorProgram, by?: Caller): Promise<OperationResult> {
    const { parts } = this;
    const isRunning = !parts.isStopping && wereAllReady(parts.runner.fleet, parts.slots);
    const begin = { command: "upgrade", detail: `from ${this.options.version} to ${next.version}`, by } as const;
    const result = await parts.history.record(
      begin,
      () => {},
      async () =>
        parts.locking.refusal() ?? freezeForNextSupervisor(parts, next, { version: this.options.version, isRunning }),
    );
    if (!result.ok) return result;
    this.watch?.stop();
    const { sockets } = parts;
    // The sockets stay open for the next supervisor. If that one fails, this process needs them, too.
    parts.sockets = [];
    this.admin.close();
    this.receivers.close();
    parts.close();
    const handOver = { next, sockets, wantsStop: false, forget: () => this.unwatchSignals() };
    this.stopInstead = () => {
      handOver.wantsStop = true;
    };
    // The caller receives its response before the control socket is closed.
    setImmediate(() => this.resolveEnded(handOver));
    const { version, program } = this.options;
    // The caller needs this to return to the former version.
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

  ownSockets(): number[] {
    const { inheritedSockets } = this.options;
    if (inheritedSockets?.isForeign) return [];
    try {
      return this.parts.sockets.map(({ fd }) => fd);
    } catch {
      return []; // Only balancers of an earlier supervisor have the sockets.
    }
  }

  async replaceSockets(): Promise<void> {
    const { parts } = this;
    await parts.channel.listenAgain();
    parts.reopenFiles();
    // In this order, balancers that are started later find the new sockets of instances.
    for (const target of [undefined, BALANCER_POOL]) {
      const result = await this.restart(target, () => {});
      if (!result.ok && !parts.isStopping)
        this.warn(`not all was restarted: ${result.message}; run paceline restart all and paceline restart balancer`);
    }
  }

  // End:

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
    // Lets the caller see that the stop has started before it takes effect.
    await Promise.resolve();
    options.observer?.stopping();
    this.watch?.stop();
    const result = await endFleet(parts, options.runDir.channelSocket);
    this.unwatchSignals();
    this.admin.close();
    this.receivers.close();
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
