/** The supervisor: wires the parts together, starts the fleet and ends it. */
import { rm } from "node:fs";
import { join } from "node:path";
import { BalancerCoordination } from "./channel/balancer-coordination.js";
import { ChannelServer } from "./channel/channel-server.js";
import type { LogStatus, OperationResult, Status, SupervisorApi } from "./control/api.js";
import { addPool, type Fleet, findPool, isDown, resize } from "./core/fleet.js";
import type { FleetConfig } from "./core/model.js";
import type { SlotPolicy } from "./core/process.js";
import { poolViews } from "./core/snapshot.js";
import { seconds } from "./core/words.js";
import { EventLog } from "./logs/event-log.js";
import { OutputPoller } from "./logs/output.js";
import { PoisonEvents } from "./logs/poison-events.js";
import { allReadySince, isUnwantedEnd, readiness, readyCount, wantedSlots } from "./operations/fleet-questions.js";
import { Operations, STOPPING } from "./operations/operations.js";
import { Recycling } from "./operations/recycling.js";
import { type ConfigLoader, longestEndMs, Reload } from "./operations/reload.js";
import { ReloadQueue } from "./operations/reload-queue.js";
import { Rollouts } from "./operations/rollouts.js";
import { watchSignals } from "./operations/signals.js";
import { buildStatus } from "./operations/status.js";
import type { Watch } from "./operations/watch/watch.js";
import { Children } from "./processes/children.js";
import { Effects } from "./processes/effects.js";
import { FleetRunner } from "./processes/fleet-runner.js";
import { HealthWatch } from "./processes/health-watch.js";
import { BALANCER_POOL, type LiveProcess } from "./processes/live-process.js";
import { LivenessWatch } from "./processes/liveness-watch.js";
import { PoolConfigs } from "./processes/pool-configs.js";
import { processGroups } from "./processes/process-groups.js";
import { SlotBook } from "./processes/slot-book.js";
import { defaultEntries, planSpawn, planTemplate, type SpawnSettings } from "./processes/spawn-plan.js";
import type { Template } from "./processes/templates.js";
import { Timers } from "./processes/timers.js";
import type { RunDirPaths } from "./run-dir/run-dir-paths.js";
import { bindAll, freePort, type ListeningSocket } from "./sockets/listening-sockets.js";
import { PssSampler } from "./stats/pss.js";
import { StatsBook } from "./stats/stats.js";
import { UsageSampler } from "./stats/usage.js";

/** On a stop, how long the balancers may take to accept the clients that wait and to close their listening sockets. */
const ACCEPT_GRACE_MS = 100;

/** An instance that the stop's deadline has caught up with can still save what it has to. */
const LEAST_DRAIN_MS = 1000;
/** How long a new process has to stay ready at most with `start --watch`. */
const WATCHED_MIN_READY_MS = 100;

export interface SupervisorOptions {
  config: FleetConfig;
  runDir: RunDirPaths;
  /** The caller's environment, for the children. */
  environment: Record<string, string>;
  /** Reads the config afresh; must not keep what it loads in this process. */
  loadConfig: ConfigLoader;
  /** All pools are of the config that was read last; must not throw. */
  onReloaded?(): void;
  /** Absolute paths of the binaries. */
  runtimes: { bun?: string; node: string };
  /** Paceline's version. */
  version: string;
  /** The programs that children run; those of @paceline/server and @paceline/balancer unless given. */
  entries?: SpawnSettings["entries"];
  /** What is wrong around the fleet; null when nothing is. */
  problem?: () => string | null;
  /** How the log is that is kept of this fleet. */
  logStatus?: () => LogStatus;
  /** The log takes lines more slowly than they come: what processes write is read when it is through. */
  isLogBusy?: () => boolean;
  /** Reload what changed on a change of files; with the file that the config was read from, if from a file. */
  watch?: { configFile: string | undefined };
}

export interface Supervisor extends SupervisorApi {
  /**
   * Binds the addresses and starts the fleet; resolves when all is under way, which is before it is ready.
   * @throws PacelineError with the system's code when an address cannot be had, such as `EADDRINUSE`.
   */
  start(): Promise<void>;
  /** Says in events and log what is wrong around the fleet. */
  warn(message: string): void;
  /** Resolves when nothing of the fleet is left; `failed` when something could not be ended. */
  readonly ended: Promise<{ failed: boolean }>;
}

/** A supervisor that has not started anything yet. */
export function createSupervisor(options: SupervisorOptions): Supervisor {
  return new FleetSupervisor(options);
}

class FleetSupervisor implements Supervisor {
  readonly ended: Promise<{ failed: boolean }>;
  private resolveEnded: (end: { failed: boolean }) => void = () => {};
  private readonly startedAt = performance.now();
  private stopping: Promise<OperationResult> | undefined;
  /** When all drains of a stop must have ended, by performance.now(). */
  private stopBy: number | undefined;
  private sockets: ListeningSocket[] = [];
  private unwatchSignals = () => {};
  private watch: Watch | undefined;

  private readonly log = new EventLog();
  private readonly timers = new Timers();
  private readonly slots = new SlotBook();
  private readonly stats = new StatsBook();
  private readonly coordination = new BalancerCoordination((upstream, type) => {
    const child = this.children.get(upstream);
    if (child !== undefined) this.runner.report(child.pool, child.index, { type, attempt: child.attempt });
  });
  private readonly configs: PoolConfigs;
  private readonly children: Children;
  private readonly poison: PoisonEvents;
  private readonly runner: FleetRunner;
  private readonly rollouts: Rollouts;
  private readonly operations: Operations;
  private readonly recycling: Recycling;
  private readonly reloads: ReloadQueue;
  private readonly link: ChannelServer<LiveProcess | Template>;
  private readonly outputs: OutputPoller;
  private readonly health: HealthWatch;
  private readonly liveness: LivenessWatch;
  private readonly usage: UsageSampler;
  private readonly pss: PssSampler;

  constructor(private readonly options: SupervisorOptions) {
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    const { log, timers, slots, stats, coordination } = this;
    const { runDir, loadConfig } = options;
    const configs = new PoolConfigs(options.config, options.environment, (pool, generation) => {
      rm(runDir.cachePath(pool, generation), { recursive: true, force: true }, () => {});
    });
    this.configs = configs;
    const publish = () => this.publish();
    const isStopping = () => this.stopping !== undefined;
    const spawnSettings: SpawnSettings = {
      ...{ configs, runDir, runtimes: options.runtimes, entries: options.entries ?? defaultEntries() },
      takePort: () => freePort(this.children.ports),
    };
    this.children = new Children({
      log,
      stats,
      outputPath: (id) => runDir.outputPath(id),
      outputSink: (name) => slots.outputSink(name, log),
      plan: (effect, token) => planSpawn(spawnSettings, effect, token),
      planTemplate: (template, token) => planTemplate(spawnSettings, template, token),
      isWanted: (pool, generation) => {
        const known = isStopping() ? undefined : findPool(this.runner.fleet, pool);
        return known !== undefined && known.generation === generation && known.wanted > 0;
      },
      listeningFds: () => this.sockets.map((socket) => socket.fd),
      report: ({ pool, index }, report) => this.runner.report(pool, index, report),
      onHello: (child, connection) => {
        if (child.kind === "balancer") coordination.join(child.id, connection);
      },
      onApplied: (child, applied) => coordination.applied(child.id, applied),
      onListens: (child) => this.health.listens(child),
      onProbed: (child, probed) => this.health.probed(child, probed),
      onHeard: (child) => this.liveness.heard(child),
      onOverdue: (child) => this.liveness.lookAtOverdue(child),
      onPoison: (found) => this.poison.found(found),
      onNotice: (child, message) => log.event("warn", child.name, message),
      onLinkLost: (child) => coordination.lostLink(child.id),
      onEnded: (process, ending) => {
        coordination.gone(process.id);
        slots.ended(process, ending, isUnwantedEnd(this.runner.fleet, process));
        this.poison.processEnded();
      },
    });
    const { children } = this;
    this.poison = new PoisonEvents(log, (id) => children.get(id)?.exit === null);
    const effects = new Effects({
      children,
      coordination,
      timers,
      log,
      publish,
      onSpawn: ({ role, name }) => {
        if (role === "member") slots.spawned(name);
      },
      onReady: ({ name }) => {
        slots.of(name).everReady = true;
        this.usage.soon();
      },
      onDeadline: ({ pool, index, attempt }) => this.runner.report(pool, index, { type: "deadline", attempt }),
    });
    this.runner = new FleetRunner(
      (pool) => this.policyNow(pool),
      (effect) => effects.perform(effect),
    );
    const { runner } = this;
    this.health = new HealthWatch({
      healthOf: ({ pool, generation }) => configs.generation(pool, generation)?.pool.health,
      report: ({ pool, index }, report) => runner.report(pool, index, report),
    });
    this.liveness = new LivenessWatch({
      children,
      fleet: () => runner.fleet,
      policyOf: (pool) => configs.policyOf(pool),
      requestTimeoutMs: (pool) => configs.pool(pool)?.requestTimeoutMs ?? 0,
      report: ({ pool, index }, report) => runner.report(pool, index, report),
    });
    this.rollouts = new Rollouts({
      ...{ runner, children, coordination, slots, log },
      policyOf: (pool) => {
        const policy = configs.policyOf(pool);
        // Whoever watches files waits for each reload; what dies soon after is seen by then.
        const isWatched = options.watch !== undefined;
        return isWatched ? { ...policy, minReadyMs: Math.min(policy.minReadyMs, WATCHED_MIN_READY_MS) } : policy;
      },
      examine: (child) => this.health.examine(child),
    });
    const { rollouts } = this;
    const isReloading = (pool: string) => this.reloads.isRunning(pool);
    this.operations = new Operations({ runner, rollouts, slots, log, isStopping, isReloading });
    const { operations } = this;
    const parts = { runner, rollouts, operations, configs, slots, stats, log };
    const reload = new Reload({ ...parts, loadConfig, publish, isStopping });
    this.reloads = new ReloadQueue((...args) => reload.run(...args));
    this.recycling = new Recycling({
      ...{ children, rollouts, log },
      fleet: () => runner.fleet,
      limitsOf: (pool) => configs.recycleLimitsOf(pool),
      mayBegin: (pool) => !isStopping() && !isReloading(pool),
    });
    this.link = new ChannelServer<LiveProcess | Template>({
      path: runDir.channelSocket,
      findChild: (token) => children.findByToken(token) ?? children.templates.findByToken(token),
      objection: (child, hello) =>
        child.kind === "template" ? children.templates.objection(child, hello) : children.objection(child, hello),
      onHello: (child, hello, connection) =>
        child.kind === "template"
          ? children.templates.hello(child, connection)
          : children.hello(child, hello, connection),
      onMessage: (child, message) =>
        child.kind === "template" ? children.templates.message(child, message) : children.message(child, message),
      onClose: (child, connection) =>
        child.kind === "template"
          ? children.templates.linkClosed(child, connection)
          : children.linkClosed(child, connection),
      onProblem: (message) => log.event("warn", "paceline", message),
    });
    const problem = (error: unknown) =>
      log.event("warn", "paceline", error instanceof Error ? error.message : `${error}`);
    const processes = () => [...children.alive(), ...[...children.templates.alive()].map(ofTemplate)];
    this.outputs = new OutputPoller(
      () => processes().map(({ output }) => output),
      () => options.isLogBusy?.() === true,
      problem,
    );
    const groups = () => processGroups(processes());
    runner.watch(() => children.templates.retire());
    this.usage = new UsageSampler(groups, problem);
    this.pss = new PssSampler(() => groups().set(process.pid, [process.pid]));
  }

  async start(): Promise<void> {
    const { configs, runner, options, log } = this;
    const sockets = await bindAll(options.config.listen);
    try {
      if (this.stopping === undefined) await this.link.listen();
    } catch (error) {
      for (const socket of sockets) socket.close();
      throw error;
    }
    if (this.stopping !== undefined) {
      // The stop found nothing to end, and cannot have closed what came after it.
      for (const socket of sockets) socket.close();
      this.link.close();
      return;
    }
    this.sockets = sockets;
    this.unwatchSignals = watchSignals({
      stop: () => void this.stop(),
      stopNow: () => this.stopNow(),
      reload: () =>
        void this.tell(
          "SIGHUP",
          this.reload(undefined, undefined, () => {}),
        ),
      scaleBy: (difference) => this.scaleBy(difference),
      ignored: (signal) => this.log.event("warn", "paceline", `${signal} is not used here and does nothing`),
    });
    this.outputs.start();
    this.usage.start();
    this.liveness.start();
    this.recycling.start();
    log.event("info", "paceline", `listens on ${this.sockets.map((socket) => socket.url).join(", ")}`);
    runner.set(addPool(runner.fleet, BALANCER_POOL, 1));
    for (const pool of options.config.pools) {
      runner.set(addPool(runner.fleet, pool.name, configs.addGeneration(pool, options.environment)));
      configs.routes.set(pool.name, pool);
    }
    this.publish();
    runner.change((fleet, context) => resize(fleet, BALANCER_POOL, options.config.balancer.processes, context));
    for (const { name, instances } of options.config.pools) {
      runner.change((fleet, context) => resize(fleet, name, instances, context));
    }
    if (options.watch !== undefined) await this.startWatch(options.watch);
  }

  private async startWatch({ configFile }: { configFile: string | undefined }): Promise<void> {
    const { configs, log, options } = this;
    // For development alone: who does not watch does not load it.
    const { Watch } = await import("./operations/watch/watch.js");
    if (this.stopping !== undefined) return;
    this.watch = new Watch({
      configFile,
      runDir: options.runDir.path,
      log,
      config: () => configs.fleet,
      reload: (pool) => this.reload(pool, undefined, () => {}),
      isServing: (pool) => {
        const names = pool === undefined ? configs.fleet.pools.map(({ name }) => name) : [pool];
        return names.every((name) => readyCount(this.runner.fleet, name) > 0);
      },
      allReadySince: (pool) => allReadySince(this.runner.fleet, pool, (id) => this.children.get(id)?.spawnedAt),
    });
    this.runner.watch(() => this.watch?.observe());
  }

  status(): Status {
    const { configs, children, coordination, rollouts, slots, stats, usage, liveness, pss, startedAt } = this;
    const { fleet } = this.runner;
    const wanted = wantedSlots(fleet);
    // No slot at all: the control socket answers before the fleet is laid out.
    const allReady = wanted.length > 0 && wanted.every((slot) => slots.of(slot.name).everReady);
    return buildStatus({
      ...{ configs, children, coordination, rollouts, slots, stats, usage, liveness, pss, startedAt, fleet },
      version: this.options.version,
      state: this.stopping !== undefined ? "stopping" : allReady ? "running" : "starting",
      listen: this.sockets.map((socket) => socket.url),
      watch: this.watch?.status ?? null,
      problem: this.options.problem?.() ?? null,
      log: this.options.logStatus?.() ?? null,
    });
  }

  scale(...args: Parameters<SupervisorApi["scale"]>): Promise<OperationResult> {
    return this.operations.scale(...args);
  }

  async reload(...args: Parameters<SupervisorApi["reload"]>): Promise<OperationResult> {
    const result = await this.reloads.run(...args);
    if (result.ok) this.watch?.reloaded(args[0]);
    if (result.ok && args[0] === undefined) this.options.onReloaded?.();
    return result;
  }

  restart(...args: Parameters<SupervisorApi["restart"]>): Promise<OperationResult> {
    return this.operations.restart(...args);
  }

  stop(): Promise<OperationResult> {
    this.stopping ??= this.end();
    return this.stopping;
  }

  async waitReady(): Promise<OperationResult> {
    const settled = (fleet: Fleet) => {
      if (this.stopping !== undefined) return STOPPING;
      const wanted = wantedSlots(fleet);
      return wanted.length === 0 ? undefined : readiness(wanted, this.slots, "all ready");
    };
    // Ends in bounded time: starting has a deadline, and failures a budget.
    return (await this.runner.until(settled)) ?? STOPPING;
  }

  warn(message: string): void {
    this.log.event("warn", "paceline", message);
  }

  names(): string[] {
    const { pools } = this.runner.fleet;
    return [
      ...pools.map(({ name }) => name),
      ...pools.flatMap(({ slots }) => slots.map(({ name }) => name)),
      ...[...this.children.templates.alive()].map(({ name }) => name),
      "paceline",
    ];
  }

  recentEvents(): ReturnType<SupervisorApi["recentEvents"]> {
    return this.log.recentEvents();
  }

  recentLog(name: string | undefined): ReturnType<SupervisorApi["recentLog"]> {
    return this.log.recentLog(name);
  }

  onEvent(...args: Parameters<SupervisorApi["onEvent"]>): () => void {
    return this.log.onEvent(...args);
  }

  onLog(...args: Parameters<SupervisorApi["onLog"]>): () => void {
    return this.log.onLog(...args);
  }

  /** While the fleet stops, a drain has what is left until its one deadline, and a moment at least. */
  private policyNow(pool: string): SlotPolicy {
    const policy = this.configs.policyOf(pool);
    if (this.stopBy === undefined) return policy;
    const leftMs = Math.max(LEAST_DRAIN_MS, Math.round(this.stopBy - performance.now()));
    if (leftMs >= policy.drainTimeoutMs) return policy;
    const hasRestOfStop = seconds(leftMs) !== seconds(policy.drainTimeoutMs);
    return { ...policy, drainTimeoutMs: leftMs, hasRestOfStop };
  }

  /**
   * The balancers drain first, while the instances still answer what is under way and are told that a drain has begun; then the
   * instances, in what is left of the same time.
   */
  private async end(): Promise<OperationResult> {
    const { runner, rollouts, configs, children, log } = this;
    // The caller is to see the stop begun before anything follows from it.
    await Promise.resolve();
    this.watch?.stop();
    this.recycling.stop();
    log.event("info", "paceline", "stops");
    rollouts.abandon(STOPPING.message);
    const down = (pool?: string) => (fleet: Fleet) => (isDown(fleet, pool) ? true : undefined);
    const policies = runner.fleet.pools.map(({ name }) => configs.policyOf(name));
    const longestMs = Math.max(...policies.map(longestEndMs), 0);
    this.stopBy = performance.now() + Math.max(...policies.map(({ drainTimeoutMs }) => drainTimeoutMs), 0);
    children.announceDrain();
    runner.change((fleet, context) => resize(fleet, BALANCER_POOL, 0, context));
    await this.stopListening();
    await runner.until(down(BALANCER_POOL), longestMs);
    this.stopPools();
    const gone = (await runner.until(down(), longestMs)) ?? false;
    await children.templates.end();
    await children.whenClean();
    this.cleanUp();
    log.event(gone ? "info" : "error", "paceline", gone ? "has stopped" : "gave up on a process that does not end");
    // Whoever asked for the stop is answered before the process goes.
    setImmediate(() => this.resolveEnded({ failed: !gone }));
    return gone
      ? { ok: true, message: "stopped" }
      : { ok: false, code: "failed", message: "a process could not be ended" };
  }

  /** New clients are refused from here on, so that they go elsewhere at once. */
  private async stopListening(): Promise<void> {
    await this.coordination.whenNoneListens(ACCEPT_GRACE_MS);
    for (const socket of this.sockets) socket.close();
    if (this.sockets.length > 0) this.log.event("info", "paceline", "refuses new connections");
  }

  private stopNow(): void {
    void this.stop();
    this.stopPools();
    for (const child of this.children.alive()) this.children.signal(child.id, "SIGKILL");
  }

  private stopPools(): void {
    for (const { name } of this.runner.fleet.pools) {
      this.runner.change((fleet, context) => resize(fleet, name, 0, context));
    }
  }

  private cleanUp(): void {
    this.unwatchSignals();
    this.timers.clearAll();
    this.outputs.stop();
    this.usage.stop();
    this.liveness.stop();
    this.pss.stop();
    this.children.close();
    this.children.templates.close();
    this.poison.close();
    this.link.close();
    for (const socket of this.sockets) socket.close();
  }

  /** The meaning of SIGTTIN and SIGTTOU. */
  private scaleBy(difference: 1 | -1): void {
    const first = this.configs.fleet.pools[0]?.name;
    const pool = this.runner.fleet.pools.find(({ name }) => name === first);
    if (pool === undefined) return;
    const { name } = pool;
    const instances = Math.max(0, pool.wanted + difference);
    const scaling = this.scale(name, { instances }, () => {}).then((result): OperationResult => {
      const wanted = this.runner.fleet.pools.find((now) => now.name === name)?.wanted;
      // The next signal has scaled it on, as was meant.
      if (result.ok || wanted === undefined || wanted === instances) return result;
      return { ok: true, message: `${name} was scaled to ${instances}, and since then to ${wanted}` };
    });
    void this.tell(difference === 1 ? "SIGTTIN" : "SIGTTOU", scaling);
  }

  /** Nobody waits for the answer to a signal, so it goes into the log. */
  private async tell(signal: string, operation: Promise<OperationResult>): Promise<void> {
    const result = await operation.catch((error: unknown): OperationResult => {
      return { ok: false, code: "failed", message: error instanceof Error ? error.message : `${error}` };
    });
    this.log.event(result.ok ? "info" : "error", "paceline", `${signal}: ${result.message}`);
  }

  private publish(): void {
    const { configs, coordination, runner, children } = this;
    coordination.publish({
      listen: this.sockets.map((socket, index) => ({ fd: index + 3, address: socket.url })),
      pools: poolViews(runner.fleet, configs.routes, (id) => children.reach(id)),
      trustedProxies: configs.balancer.trustedProxies,
      ...(configs.balancer.accessLog && { accessLog: true }),
      spoolDir: configs.balancer.spoolDir ?? join(this.options.runDir.path, "spool"),
      limits: configs.balancerLimits,
    });
  }
}

/** As the samplers and the output's reader know a process. */
function ofTemplate({ pid, output }: Template): Pick<LiveProcess, "pid" | "mark" | "output"> {
  return { pid, output, mark: null };
}
