/** Carries out the effects of the state machine. */

import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { FleetEffect } from "../core/fleet-changes.js";
import { unreachable } from "../core/process.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "./children.js";
import { BALANCER_POOL, subjectOf } from "./live-process.js";
import { SpawnTurns } from "./spawn-turns.js";
import type { Timers } from "./timers.js";

export interface EffectsOptions {
  children: Children;
  coordination: BalancerCoordination;
  timers: Timers;
  log: EventLog;
  /** Sends a snapshot of the current fleet to the balancers. */
  publish(): void;
  onSpawn(effect: FleetEffect): void;
  onReady(effect: FleetEffect): void;
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
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "leavePool":
        if (target.pool === BALANCER_POOL) return;
        this.options.publish();
        // An ended process has nobody to report to.
        if (children.get(target.id)?.exit === null) coordination.leave(target.id);
        return;
      case "askDrain": {
        this.spawns.startNow(target.id);
        const late = coordination.lateFor(target.id);
        if (late.length > 0)
          log.event("warn", target.name, `drains although ${late.join(", ")} did not apply the change in time`);
        children.drain(target.id, performance.now() + effect.deadlineMs);
        return;
      }
      case "release":
        children.release(target.id);
        return;
      case "signal":
        this.spawns.startNow(target.id);
        children.signal(target.id, effect.signal, effect.verdict);
        return;
      case "setDeadline":
        timers.set(target.id, effect.at, () => this.options.onDeadline(target));
        // Each waiting state has a deadline, so this also notices whether requests still wait for a pool without ready processes.
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "clearDeadline":
        timers.clear(target.id);
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "log": {
        const fault = children.get(target.id)?.fault;
        const why = fault == null || effect.level === "info" ? "" : `: ${fault}`;
        log.event(effect.level, subjectOf(target), `${effect.message}${why}`);
        return;
      }
      default:
        return unreachable(effect);
    }
  }
}
