/** Keeps `state.json` up to date: soon after a change, but not too often, and not at all while nothing changes. */
import { basename } from "node:path";
import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { LastExit } from "../control/api.js";
import { saveFleet } from "../core/adoption.js";
import type { FleetConfig } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "../processes/children.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import { BALANCER_POOL, type LiveProcess } from "../processes/live-process.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { SlotBook, SlotRecord } from "../processes/slot-book.js";
import {
  type FleetState,
  removeState,
  type SavedProcess,
  type SavedSlot,
  StateFile,
  textOfState,
} from "../run-dir/fleet-state.js";
import { bootId } from "../run-dir/lock.js";
import type { RunDirPaths } from "../run-dir/run-dir-files.js";
import type { StatsBook } from "../stats/stats.js";
import type { RouteTotals } from "../stats/totals.js";

export interface StateSources {
  runDir: RunDirPaths;
  runner: FleetRunner;
  configs: PoolConfigs;
  children: Pick<Children, "alive"> & { templates: Pick<Children["templates"], "lastAttempts"> };
  slots: SlotBook;
  stats: StatsBook;
  routes: Pick<RouteTotals, "saved">;
  coordination: Pick<BalancerCoordination, "version">;
  log: Pick<EventLog, "event">;
  areBalancersMixed(): boolean;
  floors(): [pool: string, instances: number][];
  /** The sources of reloads that deploys have set, now and before the last deploy. */
  deployed(): Pick<FleetState, "deployed" | "formerlyDeployed">;
  /** The version to which the next supervisor returns, while the hooks of a deploy decide about a release that all slots already have. */
  undecided?(): BeforeDeploy | undefined;
  /** The addresses that the fleet listens on, as URLs. */
  listensOn(): readonly string[];
}

/** Changes within this time are written together, in milliseconds. */
const TOGETHER_MS = 20;
/** The minimum time between two writes, in milliseconds. */
const LEAST_PAUSE_MS = 100;
/** The delay after a failed write, in milliseconds. */
const RETRY_MS = 5_000;
/** How long a write may delay an operation, in milliseconds, because a disk may hang. */
const SAVE_TIMEOUT_MS = 5_000;
const MAX_EXIT_LINES = 20;
const MAX_LINE_CHARACTERS = 500;

/** A fleet before a deploy: its configuration, and the generations of its pools, with their sizes if the deploy may change these. */
export interface BeforeDeploy {
  config: FleetConfig;
  pools: readonly { name: string; generation: number; size: number | undefined }[];
}

export class StateKeeper {
  /** Why the file is out of date; null if it is current. */
  problem: string | null = null;
  /** When the fleet was started, in Unix time. */
  startedAt = Date.now();
  /** The sizes of the pools before the stop in progress. */
  private stoppedFrom: [pool: string, instances: number][] | undefined;
  private readonly file: StateFile;
  private timer: NodeJS.Timeout | undefined;
  private written = "";
  private writing: Promise<void> | undefined;
  /** The next write may start at this time, by performance.now(). */
  private notBefore = 0;
  private hasChanged = false;
  private isClosed = false;

  constructor(private readonly sources: StateSources) {
    this.file = new StateFile(sources.runDir.path);
  }

  /** Called when something in the state may have changed. */
  changed(): void {
    this.hasChanged = true;
    if (this.isClosed || this.timer !== undefined || this.writing !== undefined) return;
    this.arm(Math.max(TOGETHER_MS, this.notBefore - performance.now()));
  }

  /** Called when the file was removed: it is written again. */
  removed(): void {
    this.written = "";
    this.changed();
  }

  /**
   * Resolves when the current state is in the file, or could not be written. A change that was reported as done must survive this process.
   */
  async saved(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, SAVE_TIMEOUT_MS);
      timer.unref();
    });
    await Promise.race([this.writeChanges(), late]);
    clearTimeout(timer);
  }

  private async writeChanges(): Promise<void> {
    await this.writing;
    if (this.hasChanged && !this.isClosed) this.begin();
    await this.writing;
  }

  /** Called when a stop starts. If it is interrupted, the next start continues with the current sizes. */
  stopping(): void {
    this.stoppedFrom = this.sources.runner.fleet.pools.map(({ name, wanted }) => [name, wanted]);
  }

  /** Called when the fleet has stopped: removes the file, and writes no other. */
  async end(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.file.close();
    await this.writing;
    removeState(this.sources.runDir.path);
  }

  /**
   * Writes the current state for a supervisor that takes over, and nothing afterwards.
   * @throws PacelineError, for example `ENOSPC`
   */
  async handOver(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.writing;
    await this.file.write(this.text());
  }

  /** Called when the fleet was not handed over. */
  resume(): void {
    this.isClosed = false;
    this.changed();
  }

  private arm(ms: number): void {
    this.timer = setTimeout(() => this.begin(), ms);
    this.timer.unref();
  }

  private begin(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.writing ??= this.write().finally(() => {
      this.writing = undefined;
      if (this.hasChanged) this.changed();
    });
  }

  private text(): string {
    const state = stateOf(this.sources, this.startedAt);
    return textOfState(this.stoppedFrom === undefined ? state : { ...state, stoppedFrom: this.stoppedFrom });
  }

  private async write(): Promise<void> {
    this.hasChanged = false;
    const text = this.text();
    if (text === this.written) return;
    const before = this.problem;
    try {
      await this.file.write(text);
      this.written = text;
      this.problem = null;
      this.notBefore = performance.now() + LEAST_PAUSE_MS;
    } catch (error) {
      this.problem = (error as Error).message;
      this.notBefore = performance.now() + RETRY_MS;
      this.hasChanged = true;
      if (before === null && !this.isClosed)
        this.sources.log.event(
          "warn",
          "paceline",
          `${this.problem}; if the supervisor ends now, the next one finds an older state`,
        );
    }
  }
}

/** Returns the state of the fleet, with times in Unix time. */
export function stateOf(sources: StateSources, startedAt: number): FleetState {
  const { runDir, runner, configs, children, slots, stats, coordination } = sources;
  const environments = [configs.environment];
  const generations = [...configs.all()].map(({ name, number, pool, environment, since }) => {
    if (!environments.includes(environment)) environments.push(environment);
    return { pool: name, number, config: pool, environment: environments.indexOf(environment), since };
  });
  const state: FleetState = {
    version: 1,
    boot: bootId(),
    startedAt,
    folder: basename(runDir.outputFolder),
    config: configs.fleet,
    environments,
    generations,
    routed: [...configs.routes.keys()],
    fleet: saveFleet(runner.fleet, performance.timeOrigin),
    snapshotVersion: coordination.version,
    areBalancersMixed: sources.areBalancersMixed(),
    processes: [...children.alive()].flatMap(savedProcess),
    slots: runner.fleet.pools.flatMap((pool) => pool.slots.map(({ name }) => savedSlot(name, slots.of(name)))),
    templates: children.templates.lastAttempts,
    floors: sources.floors(),
    former: [...configs.former],
    formerSizes: [...configs.formerSizes].map(([pool, sizes]) => [pool, ...sizes]),
    ...sources.deployed(),
    ports: sources.listensOn().map((url) => (url.startsWith("unix:") ? null : Number(/:(\d+)$/.exec(url)?.[1]))),
    totals: stats.endedTotals(),
    routes: sources.routes.saved(),
  };
  const before = sources.undecided?.();
  return before === undefined ? state : asBefore(state, before);
}

/**
 * Returns the state as before the deploy, which is not finished until its hooks succeed: with the former generations, and without the
 * pools that the deploy has added.
 */
function asBefore(state: FleetState, { config, pools }: BeforeDeploy): FleetState {
  const known = new Set(config.pools.map(({ name }) => name));
  const isAdded = (pool: string) => pool !== BALANCER_POOL && !known.has(pool);
  return {
    ...state,
    config: {
      ...config,
      pools: config.pools.filter(({ name }) => state.fleet.pools.some((pool) => pool.name === name)),
    },
    generations: state.generations.filter(({ pool }) => !isAdded(pool)),
    routed: state.routed.filter((pool) => !isAdded(pool)),
    processes: state.processes.filter(({ pool }) => !isAdded(pool)),
    slots: state.slots.filter(({ name }) => !isAdded(name.slice(0, name.lastIndexOf(".")))),
    fleet: {
      pools: state.fleet.pools
        .filter(({ name }) => !isAdded(name))
        .map((pool) => {
          const former = pools.find(({ name }) => name === pool.name);
          if (former === undefined) return pool;
          return { ...pool, generation: former.generation, wanted: former.size ?? pool.wanted };
        }),
    },
  };
}

/** Returns the process for the state; nothing if it could not be started or is not forked yet. */
function savedProcess(child: LiveProcess): SavedProcess[] {
  const { pid, startTime, stats, output, spawnedAt } = child;
  if (pid === null || startTime === undefined) return [];
  const { id, pool, name, index, attempt, generation, token, runtime } = child;
  const { socket, tcp, commandTag: mark, tag, maxInFlight, perClient, protocol } = child;
  return [
    {
      ...{ id, pool, name, index, attempt, generation, token, runtime, pid, startTime },
      ...{ socket, tcp, mark, tag, maxInFlight, perClient, protocol },
      spawnedAt: Math.round(performance.timeOrigin + spawnedAt),
      outputRow: child.outputRow,
      maxOutputBytes: output.maxBytes,
      ...stats.saved(),
    },
  ];
}

function savedSlot(name: string, record: SlotRecord): SavedSlot {
  const { restarts, recycles, everReady, unwanted, lastExit, lastRun, linesTotal, linesLost } = record;
  return {
    name,
    restarts,
    recycles,
    everReady,
    unwanted,
    lastExit: shortened(lastExit),
    lastRun,
    linesTotal,
    linesLost,
  };
}

function shortened(exit: LastExit | null): LastExit | null {
  if (exit === null) return null;
  const lastLines = exit.lastLines.slice(-MAX_EXIT_LINES).map((line) => line.slice(0, MAX_LINE_CHARACTERS));
  return { ...exit, reason: exit.reason.slice(0, 2 * MAX_LINE_CHARACTERS), lastLines };
}
