/** Carries out what the state machine decides. */

import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { FleetEffect } from "../core/fleet.js";
import { unreachable } from "../core/process.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "./children.js";
import { BALANCER_POOL, type LiveProcess, subjectOf } from "./live-process.js";
import type { Timers } from "./timers.js";

/** A balancer that takes longer than this to follow a snapshot is told of, and not waited for. */
export const APPLY_TIMEOUT_MS = 5000;

export interface EffectsOptions {
  children: Children;
  coordination: BalancerCoordination;
  timers: Timers;
  log: EventLog;
  /** Makes a snapshot of the present fleet and sends it. */
  publish(): void;
  onSpawn(effect: FleetEffect): void;
  onReady(effect: FleetEffect): void;
  onDeadline(effect: FleetEffect): void;
}

export class Effects {
  constructor(private readonly options: EffectsOptions) {}

  perform(target: FleetEffect): void {
    const { children, timers, log } = this.options;
    const { effect } = target;
    switch (effect.type) {
      case "spawn":
        this.options.onSpawn(target);
        children.spawn(target);
        return;
      case "joinPool":
        this.options.onReady(target);
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "leavePool":
        if (target.pool !== BALANCER_POOL) this.options.publish();
        return;
      case "askDrain": {
        const child = children.get(target.id);
        const deadline = performance.now() + effect.deadlineMs;
        if (child === undefined) return;
        if (child.kind === "balancer") children.drain(child, deadline);
        else void this.retire(child, deadline);
        return;
      }
      case "signal":
        children.signal(target.id, effect.signal, effect.verdict);
        return;
      case "setDeadline":
        timers.set(target.id, effect.at, () => this.options.onDeadline(target));
        // Every state that is waited in has a deadline: whether a pool without a ready process is awaited may have changed.
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

  /** An instance drains when no balancer picks it any more, and is released when none has a connection to it. */
  private async retire(child: LiveProcess, deadline: number): Promise<void> {
    const { children, coordination, log } = this.options;
    const { version } = coordination;
    const left = () => Math.max(0, deadline - performance.now());
    const late = await coordination.whenApplied(version, Math.min(APPLY_TIMEOUT_MS, left() / 2));
    if (late.length > 0) log.event("warn", child.name, `leaves although ${late.join(", ")} did not follow in time`);
    children.drain(child, deadline);
    await coordination.whenReleased(child.id, version, left());
    if (child.exit === null) children.release(child);
  }
}
