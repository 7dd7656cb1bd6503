/** Carries out the effects of the state machine: immediately, at a given time, or in a later turn of the event loop. */

import { MAX_TIMER_MS } from "@paceline/wire/limits";
import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { FleetEffect } from "../core/fleet-changes.js";
import { unreachable } from "../core/process.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "./children.js";
import { BALANCER_POOL, subjectOf } from "./live-process.js";

/** Named timers, each set at most once. */
export class Timers {
  private readonly alarms = new Map<string, NodeJS.Timeout>();

  /** Calls `ring` at `at`, in milliseconds of the monotonic clock. Replaces a timer of the same name. */
  set(name: string, at: number, ring: () => void): void {
    this.clear(name);
    const wait = () => {
      const left = at - performance.now();
      if (left > 0) {
        // A timer may fire slightly before or after the monotonic clock reaches its time.
        this.alarms.set(name, setTimeout(wait, Math.min(left, MAX_TIMER_MS)));
        return;
      }
      this.alarms.delete(name);
      ring();
    };
    this.alarms.set(name, setTimeout(wait, Math.min(Math.max(at - performance.now(), 0), MAX_TIMER_MS)));
  }

  clear(name: string): void {
    clearTimeout(this.alarms.get(name));
    this.alarms.delete(name);
  }

  clearAll(): void {
    for (const name of [...this.alarms.keys()]) this.clear(name);
  }
}

interface EffectsOptions {
  children: Children;
  coordination: BalancerCoordination;
  timers: Timers;
  log: EventLog;
  /** Sends a snapshot of the current fleet to the balancers. */
  publish(): void;
  /** The newest snapshot, or the one that is about to be sent, does not contain this process any more. */
  leave(id: string): void;
  onSpawn(effect: FleetEffect): void;
  onReady(effect: FleetEffect): void;
  /** The process is asked to drain. */
  onDrain(effect: FleetEffect): void;
  onDeadline(effect: FleetEffect): void;
}

export class Effects {
  private readonly spawns: SpawnTurns;

  constructor(private readonly options: EffectsOptions) {
    this.spawns = new SpawnTurns((effect) => options.children.spawn(effect));
  }

  perform(target: FleetEffect): void {
    const { children, coordination, timers, log } = this.options;
    const { effect } = target;
    switch (effect.type) {
      case "spawn":
        this.options.onSpawn(target);
        this.spawns.add(target);
        return;
      case "joinPool":
        this.options.onReady(target);
        coordination.rejoin(target.id);
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "leavePool":
        if (target.pool === BALANCER_POOL) return;
        this.options.publish();
        // An exited process cannot report anything, and one without an address was never in a snapshot.
        if (children.get(target.id)?.exit === null && children.reach(target.id) !== undefined)
          this.options.leave(target.id);
        return;
      case "askDrain": {
        this.spawns.startNow(target.id);
        const late = coordination.lateFor(target.id);
        if (late.length > 0)
          log.event("warn", target.name, `drains although ${late.join(", ")} did not apply the change in time`);
        this.options.onDrain(target);
        children.drain(target.id, performance.now() + effect.deadlineMs);
        return;
      }
      case "release":
        children.release(target.id);
        return;
      case "signal":
        this.spawns.startNow(target.id);
        if (effect.afterMs === undefined) children.signal(target.id, effect.signal, effect.verdict);
        else setTimeout(() => children.signal(target.id, effect.signal, effect.verdict), effect.afterMs);
        return;
      case "setDeadline":
        timers.set(target.id, effect.at, () => this.options.onDeadline(target));
        // Each waiting state has a deadline. So this also detects whether requests still wait for a pool without ready processes.
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "clearDeadline":
        timers.clear(target.id);
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "log": {
        const child = effect.level === "info" ? undefined : children.get(target.id);
        const said = child?.fault ?? child?.death.said ?? "";
        const why = said === "" ? "" : `: ${said}`;
        const report = child?.death.takeReportText() ?? "";
        log.event(effect.level, subjectOf(target), `${effect.message}${why}${report}`, effect.kind);
        return;
      }
      default:
        return unreachable(effect);
    }
  }
}

/** The maximum number of processes started in one turn of the event loop. */
const PER_TURN = 4;

/** Spreads spawns over turns of the event loop, so that messages of the first processes are read before the last processes are started. */
export class SpawnTurns {
  private readonly waiting = new Map<string, FleetEffect>();
  private left = PER_TURN;
  private isScheduled = false;

  constructor(private readonly spawn: (effect: FleetEffect) => void) {}

  /** Starts the process now, or in order in a later turn if this turn has reached its limit. */
  add(effect: FleetEffect): void {
    this.waiting.set(effect.id, effect);
    this.startSome();
  }

  /** Starts a queued process immediately, because the next effect concerns it. */
  startNow(id: string): void {
    const effect = this.waiting.get(id);
    if (effect === undefined) return;
    this.waiting.delete(id);
    this.spawn(effect);
  }

  private startSome(): void {
    if (!this.isScheduled) {
      this.isScheduled = true;
      setImmediate(() => this.nextTurn());
    }
    for (const [id, effect] of this.waiting) {
      if (this.left === 0) return;
      this.left--;
      this.waiting.delete(id);
      this.spawn(effect);
    }
  }

  private nextTurn(): void {
    this.isScheduled = false;
    this.left = PER_TURN;
    if (this.waiting.size > 0) this.startSome();
  }
}
