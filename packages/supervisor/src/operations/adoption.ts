/** Continues the fleet of a supervisor that was killed: takes over its processes, and kills or starts those that differ. */
import type { Hello } from "@paceline/wire";
import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import { adopt, restoreFleet, skipAttempt, slotsOfOtherGenerations } from "../core/adoption.js";
import { type Fleet, findSlot, processId, type Slot } from "../core/fleet.js";
import { command, type FleetContext } from "../core/fleet-changes.js";
import { FOLLOW_TIMEOUT_MS } from "../core/process.js";
import { seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { ReadPositions } from "../logs/read-positions.js";
import type { Children } from "../processes/children.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import { BALANCER_POOL, type LiveProcess } from "../processes/live-process.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import { isRunning as isRunningProcess } from "../processes/processes.js";
import type { SlotBook, SlotRecord } from "../processes/slot-book.js";
import type { FleetState, SavedProcess } from "../run-dir/fleet-state.js";
import { endGracefully, type Orphan } from "../run-dir/orphans.js";
import type { StatsBook } from "../stats/stats.js";
import type { RouteTotals } from "../stats/totals.js";
import { counted } from "./fleet-questions.js";
import { placeLateSpawn } from "./late-spawns.js";

/** How long to wait, in milliseconds: processes try to connect four times a second, unless they are busy. */
const HELLO_TIMEOUT_MS = 30_000;
/** How long the processes may take to report their counts, in milliseconds: each one does so when it has connected. */
const COUNT_TIMEOUT_MS = 5_000;
/** The maximum number of snapshots that the killed supervisor may have sent since it wrote its state. */
const UNSAVED_VERSIONS = 1000;

interface AdoptingParts {
  children: Children;
  coordination: BalancerCoordination;
  runner: FleetRunner;
  slots: SlotBook;
  stats: StatsBook;
  routes: Pick<RouteTotals, "restore">;
  configs: PoolConfigs;
  log: EventLog;
  positions: ReadPositions;
  socketPath(processId: string): string;
  /** Sends one snapshot for everything that `change` does. */
  publishOnce(change: () => void): void;
}

export class FleetAdoption {
  /** Processes that have not connected yet. */
  private readonly awaited = new Set<LiveProcess>();
  private resolveSettled = () => {};
  private timer: NodeJS.Timeout | undefined;
  /** The processes that have not reported their counts yet. */
  private readonly uncounted = new Set<string>();
  private resolveCounted = () => {};
  private countTimer: NodeJS.Timeout | undefined;
  private text = "";
  /** Resolves when the processes that the state does not contain have exited. */
  strangersEnded: Promise<void> = Promise.resolve();
  /** Resolves when all processes have connected, or HELLO_TIMEOUT_MS is over. */
  readonly settled: Promise<void>;
  /** Resolves when all processes have reported their counts, or COUNT_TIMEOUT_MS is over. Until then, totals are those of the state. */
  readonly counted: Promise<void>;

  constructor(
    private readonly parts: AdoptingParts,
    private readonly state: FleetState,
    private strangers: Orphan[],
    /** When the killed supervisor was running for the last time, in Unix time. */
    private readonly supervisorSeenAt: number,
  ) {
    this.settled = new Promise((resolve) => {
      this.resolveSettled = resolve;
    });
    this.counted = new Promise((resolve) => {
      this.resolveCounted = resolve;
    });
  }

  /** Called before the control channel is served: from here on, its processes are recognized by their tokens. */
  prepare(): void {
    const { coordination, positions, runner, slots, stats, routes, children } = this.parts;
    const { state } = this;
    coordination.continueFrom(state.snapshotVersion + UNSAVED_VERSIONS);
    stats.restoreEnded(state.totals);
    routes.restore(state.routes ?? []);
    for (const { name, ...record } of state.slots) Object.assign(slots.of(name), record as Partial<SlotRecord>);
    const positionOf = positions.read();
    for (const saved of state.processes) {
      this.adopt(saved, positionOf(saved.outputRow) ?? 0);
    }
    children.templates.skipAttempts(state.templates);
    runner.set(this.withStrangers(restoreFleet(state.fleet, -performance.timeOrigin, state.stoppedFrom)));
  }

  private adopt(saved: SavedProcess, outputBytes: number): void {
    const { children, coordination } = this.parts;
    const child = children.adopt(saved, outputBytes);
    // The killed supervisor would have noticed the end of a child.
    child.lastSignAt = Math.max(child.lastSignAt ?? 0, this.supervisorSeenAt);
    if (child.kind === "balancer") coordination.expect(child.id);
    this.awaited.add(child);
  }

  /** Takes over processes that were spawned just before the supervisor was killed, and numbers later spawns after all others. */
  private withStrangers(saved: Fleet): Fleet {
    const { children, configs, positions, slots, socketPath } = this.parts;
    let fleet = saved;
    const isRunning = (id: string) => {
      const child = children.get(id);
      return child?.pid != null && isRunningProcess(child.pid, child.startTime);
    };
    // A process that has not reported its protocol yet has the default, `http1`.
    const protocolOf = (pool: string, generation: number) =>
      this.state.processes.find(
        (each) => each.pool === pool && each.generation === generation && each.protocol !== "http1",
      )?.protocol;
    this.strangers = this.strangers.filter((orphan) => {
      const late = placeLateSpawn(fleet, orphan, { configs, socketPath, isRunning, protocolOf });
      const { name, pool, attempt } = orphan;
      const index = Number(name.slice(name.lastIndexOf(".") + 1));
      if (late === undefined) {
        if (pool !== undefined && index > 0 && attempt > 0) fleet = skipAttempt(fleet, pool, index, attempt);
        return true;
      }
      fleet = late.fleet;
      configs.assumeGeneration(late.process.pool, late.configOf, late.process.generation);
      const record = slots.of(name);
      if (late.isRestart) record.restarts++;
      record.unwanted = false;
      this.adopt({ ...late.process, outputRow: positions.take() }, 0);
      return false;
    });
    return fleet;
  }

  /** Adopts the fleet, and kills processes that do not belong to it. */
  begin(): void {
    const { parts, strangers } = this;
    const { runner, children } = parts;
    let started = 0;
    let ended = strangers.length;
    const takeUp = (fleet: Fleet, context: FleetContext) => {
      const change = adopt(fleet, (id) => children.get(id) !== undefined, context);
      started = change.effects.filter(({ effect }) => effect.type === "spawn").length;
      ended += fleet.pools.flatMap((pool) => pool.slots.filter(({ other }) => other?.role === "replacement")).length;
      return change;
    };
    parts.publishOnce(() => runner.change(takeUp));
    const saved = this.awaited.size;
    for (const child of [...this.awaited]) if (!children.checkAdopted(child)) this.awaited.delete(child);
    const gone = saved - this.awaited.size;
    // Programs report nothing; the balancers count for them.
    for (const { id, commandTag } of this.awaited) if (commandTag === null) this.uncounted.add(id);
    this.countTimer = setTimeout(this.resolveCounted, COUNT_TIMEOUT_MS);
    this.lookIfCounted();
    const instances = [...this.awaited].filter(({ kind }) => kind === "instance").length;
    const balancers = this.awaited.size - instances;
    const balancing = balancers === 1 ? "1 balancer" : `${balancers} balancers`;
    this.text = `adopted ${counted(instances)} and ${balancing}; started ${started}, ended ${ended}${gone === 0 ? "" : `; ${gone} had exited`}`;
    this.timer = setTimeout(() => this.giveUp(), HELLO_TIMEOUT_MS);
    this.settle();
    this.strangersEnded = this.endStrangers();
  }

  /** Called when a process has connected. */
  heard(child: LiveProcess, { phase }: Hello): void {
    if (!this.awaited.delete(child)) return;
    // The process started to drain while there was no supervisor, for example after a signal. It is replaced when it has exited.
    if (phase === "draining") {
      this.parts.runner.change((fleet, context) => {
        const member = findSlot(fleet, child.pool, child.index)?.member.process;
        const isReady = member?.attempt === child.attempt && member.state === "ready";
        return isReady ? command(fleet, child.pool, child.index, { type: "restart" }, context) : { fleet, effects: [] };
      });
    }
    this.settle();
  }

  /** Called when a process has reported its counts. */
  counts({ id }: Pick<LiveProcess, "id">): void {
    if (this.uncounted.delete(id)) this.lookIfCounted();
  }

  private lookIfCounted(): void {
    if (this.uncounted.size > 0) return;
    clearTimeout(this.countTimer);
    this.resolveCounted();
  }

  /** Called when a process has exited. */
  ended(process: Pick<LiveProcess, "id">): void {
    this.counts(process);
    for (const child of this.awaited) if (child.id === process.id) this.awaited.delete(child);
    this.settle();
  }

  close(): void {
    clearTimeout(this.timer);
    clearTimeout(this.countTimer);
    this.awaited.clear();
    this.resolveSettled();
    this.resolveCounted();
  }

  /** Returns the pools in which a rollout was interrupted after some slots, which have the unfinished generation. */
  unfinished(): { pool: string; slots: number[]; generation: number }[] {
    return this.parts.runner.fleet.pools.flatMap((pool) => {
      const slots = pool.name === BALANCER_POOL ? [] : slotsOfOtherGenerations(pool);
      return slots.length === 0 ? [] : [{ pool: pool.name, slots, generation: pool.generation }];
    });
  }

  /** Returns the slots whose apps were notified of a stop that did not follow. */
  announced(): { pool: string; slots: number[]; generation: number }[] {
    if (this.state.stoppedFrom === undefined) return [];
    const { runner, children } = this.parts;
    const expectsStop = ({ name, member: { process } }: Slot) =>
      process.state === "ready" && children.get(processId(name, process.attempt))?.isAdopted === true;
    return runner.fleet.pools.flatMap((pool) => {
      const slots = pool.name === BALANCER_POOL ? [] : pool.slots.filter(expectsStop).map(({ index }) => index);
      return slots.length === 0 ? [] : [{ pool: pool.name, slots, generation: pool.generation }];
    });
  }

  private settle(): void {
    if (this.awaited.size > 0 || this.text === "") return;
    this.parts.log.event("info", "paceline", this.text, "supervisor");
    this.text = "";
    clearTimeout(this.timer);
    this.resolveSettled();
  }

  /** Kills processes that run but do not connect, unless their pool allows a blocked event loop. */
  private giveUp(): void {
    const { parts } = this;
    for (const child of [...this.awaited]) {
      const { attempt } = child;
      const reason = `did not find the new supervisor within ${seconds(HELLO_TIMEOUT_MS)}`;
      if (parts.configs.policyOf(child.pool, child.generation).hangAfterMs > 0)
        parts.runner.report(child.pool, child.index, { type: "hung", attempt, reason, signal: "SIGTERM" });
      else parts.log.event("warn", child.name, reason);
    }
    this.awaited.clear();
    this.settle();
  }

  /** Ends the processes that the state does not name, once the balancers no longer use them. */
  private async endStrangers(): Promise<void> {
    const { coordination, log } = this.parts;
    if (this.strangers.length === 0) return;
    const names = this.strangers.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
    log.event("warn", "paceline", `ends ${names}: the state of the last supervisor does not name them`);
    await coordination.whenApplied(coordination.version, FOLLOW_TIMEOUT_MS);
    await endGracefully(this.strangers);
  }
}
