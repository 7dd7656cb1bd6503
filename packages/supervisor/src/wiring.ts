/** The parts of a supervisor, created in dependency order and connected to one another. */
import { rm } from "node:fs";
import { join } from "node:path";
import type { RecordedSpans } from "@paceline/wire";
import type { FleetCertificates } from "./certificates/fleet-certificates.js";
import { BalancerCoordination } from "./channel/balancer-coordination.js";
import type { ChannelServer } from "./channel/channel-server.js";
import { childrenOptions, childServer } from "./child-events.js";
import { findSlot, occupants } from "./core/fleet.js";
import { EventLog, PoisonEvents } from "./logs/event-log.js";
import { OutputPoller } from "./logs/output-poller.js";
import { ReadPositions } from "./logs/read-positions.js";
import { createOperations, type FleetOperations } from "./operation-wiring.js";
import { FleetAdoption } from "./operations/adoption.js";
import { Publishing, Recordings } from "./operations/publishing.js";
import { StateKeeper } from "./operations/state-keeper.js";
import { Children, type ChildrenOptions } from "./processes/children.js";
import { ControlGroups } from "./processes/control-groups.js";
import { Effects, Timers } from "./processes/effects.js";
import { FleetRunner } from "./processes/fleet-runner.js";
import { HealthWatch, warmupOf } from "./processes/health-watch.js";
import { type LiveProcess, processGroups, type Template } from "./processes/live-process.js";
import { LivenessWatch } from "./processes/liveness-watch.js";
import { endingBy, PoolConfigs } from "./processes/pool-configs.js";
import { SlotBook } from "./processes/slot-book.js";
import { createRecords, type FleetRecords } from "./record-wiring.js";
import { withSecrets } from "./run-dir/fleet-state.js";
import { StickyCookies } from "./run-dir/own-secrets.js";
import type { ListeningSocket } from "./sockets/listening-sockets.js";
import { SlotSockets } from "./sockets/slot-sockets.js";
import { JudgedCounts } from "./stats/judged-counts.js";
import { StatsBook } from "./stats/stats.js";
import { RouteTotals } from "./stats/totals.js";
import { PssSampler, UsageSampler } from "./stats/usage.js";
import type { PartsOptions } from "./supervisor-options.js";

/** By this time, in milliseconds, a balancer follows a snapshot unless it is stuck. */
const MAX_APPLYING_MS = 5_000;

export class FleetParts {
  /** The fleet's listening sockets; empty before the start. */
  sockets: readonly ListeningSocket[] = [];
  /** The sockets of pools in direct mode. */
  readonly slotSockets = new SlotSockets({
    isAlive: (slot) => [...this.children.alive()].some(({ name }) => name === slot),
  });
  isStopping = false;
  /** Receives sampled requests; set if metrics and spans are exported. */
  onSpans: (recorded: RecordedSpans) => void = () => {};
  /** Ends the wait before a stop at once. */
  endPreDrain = () => {};
  /** When all drains of a stop must have ended, by performance.now(). */
  stopBy: number | undefined;

  readonly log = new EventLog();
  readonly timers = new Timers();
  readonly slots = new SlotBook();
  readonly stats = new StatsBook();
  readonly judged = new JudgedCounts();
  readonly groups = new ControlGroups({
    onProblem: (problem) => this.log.event("info", "paceline", `the kernel does not enforce maxMemoryMb: ${problem}`),
  });
  readonly recordings = new Recordings(() => {
    this.publishing.publish();
    return this.coordination.whenApplied(this.coordination.version, MAX_APPLYING_MS);
  });
  readonly routes = new RouteTotals(
    (pool) => this.configs.routes.get(pool)?.routes ?? [],
    (pool, errors, isNew) => this.stats.addOwnErrors(pool, errors, isNew),
  );
  readonly configs: PoolConfigs;
  readonly runner: FleetRunner;
  readonly coordination: BalancerCoordination;
  readonly publishing: Publishing;
  readonly children: Children;
  readonly poison: PoisonEvents;
  readonly health: HealthWatch;
  readonly liveness: LivenessWatch;
  readonly rollouts: FleetOperations["rollouts"];
  readonly operations: FleetOperations["operations"];
  readonly turns: FleetOperations["turns"];
  readonly reload: FleetOperations["reload"];
  readonly deploys: FleetOperations["deploys"];
  readonly dumps: FleetOperations["dumps"];
  readonly reloads: FleetOperations["reloads"];
  readonly recycling: FleetOperations["recycling"];
  readonly autoscaling: FleetOperations["autoscaling"];
  readonly agentCheck: FleetOperations["agentCheck"];
  readonly channel: ChannelServer<LiveProcess | Template>;
  readonly outputs: OutputPoller;
  readonly usage: UsageSampler;
  readonly pss: PssSampler;
  /** The state that the next supervisor would need. */
  readonly state: StateKeeper;
  /** The figures of the last minutes and hours. */
  readonly series: FleetRecords["series"];
  readonly deaths: FleetRecords["deaths"];
  readonly history: FleetRecords["history"];
  readonly hooks: FleetOperations["hooks"];
  readonly locking: FleetOperations["locking"];
  /** Set only if this supervisor takes over from a killed one. */
  readonly adoption: FleetAdoption | undefined;
  readonly positions: ReadPositions;
  /** Undefined unless an address is https. */
  certificates: FleetCertificates | undefined;

  constructor(options: PartsOptions) {
    const { log, timers, slots, stats } = this;
    const { runDir } = options;
    const adopted = options.adoption && withSecrets(options.adoption.state, options.config);
    const { config = options.config, environments } = adopted ?? {};
    const configs = new PoolConfigs(config, environments?.[0] ?? options.environment, (pool, generation) => {
      rm(runDir.cachePath(pool, generation), { recursive: true, force: true }, () => {});
    });
    if (adopted !== undefined) configs.restore(adopted);
    this.configs = configs;

    // The state machine and its effects:
    const runner = new FleetRunner(
      (pool, generation) => endingBy(this.stopBy, configs.policyOf(pool, generation)),
      (effect) => effects.perform(effect),
    );
    this.runner = runner;
    const report: ChildrenOptions["report"] = ({ pool, index }, event) => runner.report(pool, index, event);
    const coordination = new BalancerCoordination((upstream, type) => {
      const child = children.get(upstream);
      if (child !== undefined) report(child, { type, attempt: child.attempt });
    });
    this.coordination = coordination;
    const positions = new ReadPositions(join(runDir.outputFolder, "positions"), (message) =>
      log.event("warn", "paceline", message),
    );
    this.positions = positions;
    const children = new Children(childrenOptions(this, options, report));
    this.children = children;
    const problem = (error: unknown) =>
      log.event("warn", "paceline", error instanceof Error ? error.message : `${error}`);
    const publishing = new Publishing({
      ...{ runner, configs, children, coordination, judged: this.judged, recordings: this.recordings },
      stickyCookies: new StickyCookies(runDir.path, problem),
      spoolDir: join(runDir.path, "spool"),
      listensOn: () => this.sockets.map(({ url }) => url),
      onChange: () => this.state.changed(),
    });
    this.publishing = publishing;
    const publish = () => publishing.publish();
    const effects = new Effects({
      ...{ children, coordination, timers, log, publish },
      leave: (id) => publishing.leave(id),
      onSpawn: ({ role, name }) => {
        if (role === "member") slots.spawned(name);
      },
      onReady: ({ name }) => {
        this.slotSockets.ready(name);
        slots.of(name).everReady = true;
        this.usage.soon();
      },
      onDrain: ({ pool, index, name, role }) => {
        const member = findSlot(runner.fleet, pool, index)?.member;
        // No other process of the slot follows.
        if (role === "member" && member?.process.goal !== "up") this.slotSockets.release(name);
      },
      onDeadline: (target) => report(target, { type: "deadline", attempt: target.attempt }),
    });
    runner.watch(() => children.templates.retire());

    // Monitoring of the processes:
    this.poison = new PoisonEvents(log, (id) => children.get(id)?.exit === null);
    this.health = new HealthWatch({
      healthOf: ({ pool, generation }) => configs.generation(pool, generation)?.pool.health,
      warmupOf: (child) => warmupOf(child.spawnedAt, configs.generation(child.pool, child.generation)?.pool),
      isServing: ({ pool, index, attempt }) => {
        const slot = findSlot(runner.fleet, pool, index);
        const processes = slot === undefined ? [] : occupants(slot).map(({ occupant }) => occupant.process);
        return processes.some((process) => process.attempt === attempt && process.state === "ready");
      },
      onCold: ({ name }, problem) => log.event("warn", name, `takes traffic before it is warm: ${problem}`),
      onTurn: ({ name, failsChecks }, message) => {
        log.event(failsChecks ? "warn" : "info", name, message, failsChecks ? "ejected" : undefined);
        publish();
      },
      random: Math.random,
      report,
    });
    this.liveness = new LivenessWatch({
      ...{ children, report },
      fleet: () => runner.fleet,
      policyOf: (pool, generation) => configs.policyOf(pool, generation),
      requestTimeoutMs: (pool) => configs.pool(pool)?.requestTimeoutMs ?? 0,
      onRanAgain: ({ name }, message) => log.event("warn", name, message),
    });

    const processes = () => [...children.alive(), ...[...children.templates.alive()].map(ofTemplate)];
    const groups = () => processGroups(processes());
    this.usage = new UsageSampler(groups, problem, {
      onSample: () => this.recycling.lookSoon(),
      isPressing: () => this.recycling.isPressing,
    });
    this.pss = new PssSampler(() => groups().set(process.pid, [process.pid]));

    // The operations:
    const made = createOperations(this, options, adopted);
    ({ rollouts: this.rollouts, operations: this.operations, turns: this.turns, dumps: this.dumps } = made);
    ({ hooks: this.hooks, locking: this.locking, reload: this.reload, reloads: this.reloads } = made);
    ({ deploys: this.deploys, recycling: this.recycling } = made);
    ({ autoscaling: this.autoscaling, agentCheck: this.agentCheck } = made);

    this.state = new StateKeeper({
      ...{ runDir, runner, configs, children, slots, stats, coordination, log },
      routes: this.routes,
      areBalancersMixed: () => this.reload.changes.areBalancersMixed,
      floors: () => this.autoscaling.floors(),
      deployed: () => this.deploys.last.sources,
      undecided: () => this.deploys.undecided,
      listensOn: () => this.sockets.map(({ url }) => url),
    });
    runner.watch(() => this.state.changed());
    if (options.adoption !== undefined) {
      const { state, strangers, lastSignAt } = options.adoption;
      this.reload.changes.areBalancersMixed = state.areBalancersMixed;
      this.state.startedAt = state.startedAt;
      this.adoption = new FleetAdoption(
        {
          ...{ children, coordination, positions, runner, slots, stats, configs, log },
          routes: this.routes,
          publishOnce: (change) => publishing.publishOnce(change),
          socketPath: (id) => runDir.socketPath(id),
        },
        state,
        strangers,
        lastSignAt,
      );
    }

    // Communication with the processes, their output and their figures:
    this.channel = childServer(runDir.channelSocket, children, log);
    this.outputs = new OutputPoller({
      folder: runDir.outputFolder,
      files: () => processes().map(({ output }) => output),
      isBusy: () => options.isLogBusy?.() === true,
      isSettled: () => options.isLogSettled?.() ?? true,
      problem,
    });
    ({ series: this.series, deaths: this.deaths, history: this.history } = createRecords(this, options));
  }

  /** The addresses at which clients connect. */
  get urls(): string[] {
    return [...this.sockets.map(({ url }) => url), ...this.slotSockets.urls];
  }

  /** Reopens files that were removed. */
  reopenFiles(): void {
    this.positions.reopen();
    this.state.removed();
  }

  /** Stops all timers and watchers. */
  close(): void {
    this.timers.clearAll();
    this.outputs.stop();
    this.usage.stop();
    this.liveness.stop();
    this.autoscaling.stop();
    this.agentCheck.close();
    this.certificates?.close();
    this.pss.stop();
    this.series.close();
    this.deaths.close();
    this.adoption?.close();
    this.children.close();
    this.children.templates.unreported.close();
    this.positions.end();
    this.poison.close();
    this.channel.close();
    for (const socket of this.sockets) socket.close();
    this.slotSockets.close();
  }
}

/** Adapts a template for the samplers and the output reader. */
function ofTemplate({ pid, output }: Template): Pick<LiveProcess, "pid" | "commandTag" | "output"> {
  return { pid, output, commandTag: null };
}
