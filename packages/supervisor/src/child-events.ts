/** How the supervisor handles its children: it starts them, and reacts when one sends a message or exits. */
import type { RecordedSpans } from "@paceline/wire";
import type { FleetCertificates } from "./certificates/fleet-certificates.js";
import type { BalancerCoordination } from "./channel/balancer-coordination.js";
import { ChannelServer } from "./channel/channel-server.js";
import { unwantedState } from "./core/deaths.js";
import { findPool } from "./core/fleet.js";
import type { EventLog, PoisonEvents } from "./logs/event-log.js";
import type { ReadPositions } from "./logs/read-positions.js";
import type { FleetAdoption } from "./operations/adoption.js";
import type { Dumps } from "./operations/dumps.js";
import { isUnwantedEnd } from "./operations/fleet-questions.js";
import type { Recordings } from "./operations/publishing.js";
import type { Recycling } from "./operations/recycling.js";
import type { StateKeeper } from "./operations/state-keeper.js";
import type { Children, ChildrenOptions } from "./processes/children.js";
import type { ControlGroups } from "./processes/control-groups.js";
import type { DeathReporter } from "./processes/death-reporter.js";
import type { FleetRunner } from "./processes/fleet-runner.js";
import type { HealthWatch } from "./processes/health-watch.js";
import { BALANCER_POOL, type LiveProcess, type Template } from "./processes/live-process.js";
import type { LivenessWatch } from "./processes/liveness-watch.js";
import type { PoolConfigs } from "./processes/pool-configs.js";
import type { SlotBook } from "./processes/slot-book.js";
import { defaultEntries, planSpawn, planTemplate, type SpawnSettings } from "./processes/spawn-plan.js";
import { freePort, type ListeningSocket } from "./sockets/listening-sockets.js";
import type { SlotSockets } from "./sockets/slot-sockets.js";
import type { JudgedCounts } from "./stats/judged-counts.js";
import type { StatsBook } from "./stats/stats.js";
import type { RouteTotals } from "./stats/totals.js";

/** The parts of a supervisor that children's messages concern. They exist before a child can send one. */
interface Concerned {
  readonly log: EventLog;
  readonly slots: SlotBook;
  readonly runner: FleetRunner;
  readonly coordination: BalancerCoordination;
  readonly children: Children;
  readonly poison: PoisonEvents;
  readonly health: HealthWatch;
  readonly liveness: LivenessWatch;
  readonly dumps: Dumps;
  readonly recycling: Recycling;
  readonly state: StateKeeper;
  readonly deaths: DeathReporter;
  readonly judged: JudgedCounts;
  readonly groups: ControlGroups;
  readonly recordings: Recordings;
  readonly routes: RouteTotals;
  readonly adoption: FleetAdoption | undefined;
  /** Receives sampled requests. */
  onSpans(recorded: RecordedSpans): void;
  readonly sockets: readonly ListeningSocket[];
  readonly urls: readonly string[];
  readonly slotSockets: SlotSockets;
  readonly configs: PoolConfigs;
  readonly stats: StatsBook;
  readonly positions: ReadPositions;
  readonly certificates: FleetCertificates | undefined;
  readonly isStopping: boolean;
}

interface StartOptions
  extends Pick<SpawnSettings, "runDir" | "runtimes">,
    Partial<Pick<SpawnSettings, "restart" | "entries">> {
  watch?: object;
}

export function childrenOptions(
  parts: Concerned,
  options: StartOptions,
  report: ChildrenOptions["report"],
): ChildrenOptions {
  const { log, stats, judged, slots, configs, runner, positions } = parts;
  const { runDir, runtimes } = options;
  const settings: SpawnSettings = {
    ...{ configs, runDir, runtimes, entries: options.entries ?? defaultEntries() },
    restart: options.restart,
    takePort: () => freePort(parts.children.ports),
    nodeEnv: options.watch === undefined ? "production" : "development",
  };
  return {
    ...childEvents(parts),
    ...{ log, stats, judged, report, positions },
    outputPath: (id) => runDir.outputPath(id),
    outputSink: (name) => slots.outputSink(name, log),
    plan: (effect, token) => planSpawn(settings, effect, token),
    planTemplate: (template, token) => planTemplate(settings, template, token),
    isWanted: (pool, generation) => {
      const known = parts.isStopping ? undefined : findPool(runner.fleet, pool);
      return known !== undefined && known.generation === generation && known.wanted > 0;
    },
    groups: parts.groups,
    memoryLimitOf: (pool, generation) => configs.generation(pool, generation)?.pool.recycle.maxMemoryMb ?? 0,
    listeningFds: ({ pool, generation, name }) => {
      if (pool === BALANCER_POOL) return parts.sockets.map((socket) => socket.fd);
      const { bind } = configs.generation(pool, generation)?.pool ?? {};
      return bind === undefined ? [] : parts.slotSockets.take(name, bind);
    },
  };
}

type ChildEvents = Pick<ChildrenOptions, Extract<keyof ChildrenOptions, `on${string}`> | "mayBeReachable">;

function childEvents(parts: Concerned): ChildEvents {
  const { log, slots } = parts;
  return {
    onTemplateDied: (template, ending) => parts.deaths.ended(template, ending, template.isReady ? "ready" : "starting"),
    onHello: (child, connection, hello) => {
      if (child.kind === "balancer") parts.coordination.join(child.id, connection, hello.snapshotVersion);
      parts.adoption?.heard(child, hello);
      parts.state.changed();
    },
    onApplied: (child, applied) => parts.coordination.applied(child.id, applied),
    onListens: (child) => parts.health.listens(child),
    mayBeReachable: ({ pool, generation }) => parts.configs.generation(pool, generation)?.pool.bind !== undefined,
    onProbed: (child, probed) => parts.health.probed(child, probed),
    onHeard: (child) => {
      parts.liveness.heard(child);
      parts.recycling.lookSoon();
    },
    onOverdue: (child) => parts.liveness.lookAtOverdue(child),
    onPoison: (found) => parts.poison.found(found),
    onDumped: (dumped) => parts.dumps.dumped(dumped),
    onWantCertificate: async ({ id }, name) => {
      const has = await parts.certificates?.want(name);
      if (has !== true) parts.coordination.noCertificate(id, name);
    },
    onOpen: (requests) => parts.coordination.listed(requests),
    onRoutes: ({ id, isAdopted }, routes) => parts.routes.record(id, routes, performance.now(), isAdopted),
    onCounted: (child) => parts.adoption?.counts(child),
    onSpans: (recorded) => parts.onSpans(recorded),
    onRecorded: (recorded) => parts.recordings.heard(recorded),
    onLost: (lost) => {
      parts.judged.lost(lost);
      parts.deaths.lost(parts.children.get(lost.upstream), lost);
    },
    onNotice: (child, message, level, kind) => log.event(level, child.name, message, kind),
    onAsked: ({ pool }, message, level, port) => {
      const addresses = parts.urls;
      if (level === "info" && addresses.some((url) => url.endsWith(`:${port}`))) return;
      log.event(level, pool, `${message}; clients connect to ${addresses.join(", ")}`);
    },
    onRun: ({ name }, run) => {
      if (slots.ran(name, run) && run.failure !== null)
        log.event("warn", name, `the run failed: ${run.failure}`, "run-failed");
    },
    onChannelLost: (child) => parts.coordination.lostChannel(child.id),
    onEnded: (process, ending) => {
      parts.coordination.gone(process.id);
      slots.ended(process, ending, isUnwantedEnd(parts.runner.fleet, process));
      parts.slotSockets.ended(process.name);
      const wasKilled = process.death != null && process.death.killedAs !== null;
      const state = unwantedState(parts.runner.fleet, process, ending.status, wasKilled);
      if (state !== undefined) {
        parts.deaths.ended(process, ending, state);
        parts.judged.crashed(process);
      }
      parts.poison.processEnded();
      parts.adoption?.ended(process);
    },
    onOver: ({ id }) => parts.routes.ended(id),
  };
}

/** Returns the server of the control channel, to which children and templates connect. */
export function childServer(path: string, children: Children, log: EventLog): ChannelServer<LiveProcess | Template> {
  const { channel, templates } = children;
  return new ChannelServer<LiveProcess | Template>({
    path,
    findChild: (token) => children.findByToken(token) ?? templates.findByToken(token),
    objection: (child, hello) =>
      child.kind === "template" ? templates.objection(child, hello) : channel.objection(child, hello),
    onHello: (child, hello, connection) =>
      child.kind === "template" ? templates.hello(child, connection) : channel.hello(child, hello, connection),
    onMessage: (child, message) =>
      child.kind === "template" ? templates.message(child, message) : channel.message(child, message),
    onClose: (child, connection) =>
      child.kind === "template" ? templates.linkClosed(child, connection) : channel.closed(child, connection),
    onProblem: (message) => log.event("warn", "paceline", message),
  });
}
