/** An operator's changes to an instance's turns at run time: drain and undrain, eject and readmit, weight. */
import type { StickyRule } from "@paceline/wire";
import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { OperationResult, ProgressListener, TurnChange } from "../control/api.js";
import {
  FULL_WEIGHT,
  findPool,
  hasOtherInTurn,
  MAX_WEIGHT,
  occupants,
  type Pool,
  processId,
  type Slot,
  type SlotTurn,
} from "../core/fleet.js";
import { setTurn } from "../core/fleet-changes.js";
import { FOLLOW_TIMEOUT_MS } from "../core/process.js";
import { hasOtherServing } from "../core/serving.js";
import { unknownName } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import { STOPPING } from "./scale-and-restart.js";

interface SlotTurnsOptions {
  runner: FleetRunner;
  coordination: BalancerCoordination;
  log: EventLog;
  publish(): void;
  isStopping(): boolean;
  /** Whether balancers have ejected a process because it is worse than others, or its health checks fail. */
  healthOf(processId: string): "ejected" | "failing" | undefined;
  /** Whether balancers send requests to this pool. */
  getsRequests(pool: string): boolean;
  /** How a pool recognizes its clients; undefined if it does not. */
  stickyOf(pool: string): StickyRule | undefined;
}

/** How often a long drain checks whether it was undone, in milliseconds. */
const LOOK_MS = 1000;

const NOT_READY = "is not ready, so it gets no requests";

/** Returns which requests ignore a weight in a pool with sticky clients. */
function heedOf(sticky: StickyRule | undefined): string {
  if (sticky === undefined) return "";
  return sticky.by === "cookie"
    ? "; it affects only new clients, since known ones stay with their instance"
    : "; it has no effect on requests whose instance is chosen by a hash";
}

interface Target {
  pool: Pool;
  slot: Slot;
}

export class SlotTurns {
  /** The drains in progress, by slot. */
  private readonly draining = new Map<string, Promise<"idle" | "undone">>();

  constructor(private readonly options: SlotTurnsOptions) {}

  async change(change: TurnChange, onProgress: ProgressListener): Promise<OperationResult> {
    if (this.options.isStopping()) return STOPPING;
    const target = this.find(change.name);
    if ("ok" in target) return target;
    switch (change.do) {
      case "drain":
        return this.drain(target, change, onProgress);
      case "undrain":
        return this.undrain(target);
      case "eject":
        return this.eject(target);
      case "readmit":
        return this.readmit(target);
      case "weight":
        return this.weigh(target, change.weight);
      default:
        return change satisfies never;
    }
  }

  private async drain(
    { pool, slot }: Target,
    { isForced, waits }: Extract<TurnChange, { do: "drain" }>,
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    const { name, index, turn } = slot;
    if (turn?.drained !== true) {
      if (!isForced && !hasOtherServing(pool, index)) {
        const message = `${name} is the only instance of ${pool.name} that gets requests: drained, its clients get 503; --force drains it all the same`;
        return { ok: false, code: "last-available", message };
      }
      this.set(pool, slot, { ...turn, drained: true });
      this.options.log.event("info", name, "is drained: it gets no new requests until it is undrained");
    }
    const late = await this.applied();
    if (late !== undefined) return late;
    const isIdle = this.isIdle(pool.name, name);
    const end = this.draining.get(name) ?? (isIdle && turn?.drained === true ? undefined : this.watch(pool, slot));
    if (isIdle) return { ok: true, message: `${name} is drained: nothing is in flight there` };
    if (!waits) return { ok: true, message: `${name} is drained; its requests in flight continue` };
    onProgress(`${name} is drained; waiting for its requests in flight`);
    // The caller limits the wait, and the requests have deadlines of their own.
    if ((await end) === "idle") return { ok: true, message: `${name} is drained: nothing is in flight there` };
    if (this.options.isStopping()) return STOPPING;
    return { ok: false, code: "failed", message: `${name} was undrained or removed while requests were in flight` };
  }

  /** Continues the drains of an earlier supervisor that have requests in flight once all balancers are connected again. */
  async resume(): Promise<void> {
    const { runner, coordination } = this.options;
    await coordination.whenApplied(coordination.version, FOLLOW_TIMEOUT_MS);
    for (const pool of runner.fleet.pools) {
      for (const slot of pool.slots) {
        const isPending = slot.turn?.drained === true && !this.isIdle(pool.name, slot.name);
        if (isPending && !this.draining.has(slot.name)) void this.watch(pool, slot);
      }
    }
  }

  /** Watches a drain until nothing is in flight, and reports that. */
  private watch(pool: Pool, slot: Slot): Promise<"idle" | "undone"> {
    const { name } = slot;
    const end = this.whenIdle(pool.name, name).then((how) => {
      this.draining.delete(name);
      if (how === "idle") this.options.log.event("info", name, "nothing is in flight any more");
      return how;
    });
    this.draining.set(name, end);
    return end;
  }

  private async whenIdle(pool: string, name: string): Promise<"idle" | "undone"> {
    const { coordination } = this.options;
    const { version } = coordination;
    for (;;) {
      const ids = this.drainedIds(pool, name);
      if (ids === undefined) return "undone";
      // Balancers that no longer know the process have nothing on it, either.
      if (await coordination.whenIdle(ids, version, LOOK_MS))
        return this.drainedIds(pool, name) === undefined ? "undone" : "idle";
    }
  }

  private isIdle(pool: string, name: string): boolean {
    const ids = this.drainedIds(pool, name);
    return ids !== undefined && this.options.coordination.isIdle(ids, 0);
  }

  /** Returns the processes of a drained slot; undefined if it is no longer drained, or the fleet stops. */
  private drainedIds(poolName: string, name: string): string[] | undefined {
    const { runner, isStopping } = this.options;
    const pool = findPool(runner.fleet, poolName);
    const slot = isStopping() ? undefined : pool?.slots.find((each) => each.name === name);
    if (slot?.turn?.drained !== true) return undefined;
    return occupants(slot).map(({ occupant }) => processId(name, occupant.process.attempt));
  }

  private async undrain({ pool, slot }: Target): Promise<OperationResult> {
    const { drained, ...rest } = slot.turn ?? {};
    if (drained !== true) return { ok: true, message: `${slot.name} is not drained` };
    this.set(pool, slot, rest);
    this.options.log.event("info", slot.name, "is not drained any more");
    return (await this.applied()) ?? { ok: true, message: `${slot.name} gets requests again` };
  }

  private async eject({ pool, slot }: Target): Promise<OperationResult> {
    const { name, index, turn, member } = slot;
    const { state, attempt } = member.process;
    if (state !== "ready") return { ok: false, code: "invalid", message: `${name} ${NOT_READY}` };
    if (turn?.ejected !== attempt) {
      this.set(pool, slot, { ...turn, ejected: attempt });
      this.options.log.event("warn", name, "was ejected by an operator, until it is readmitted or its process ends");
    }
    const late = await this.applied();
    if (late !== undefined) return late;
    const isAlone = !hasOtherInTurn(pool, index);
    const rest = isAlone ? `; it still gets requests, since ${pool.name} has no other instance for them` : "";
    return { ok: true, message: `${name} is ejected${rest}` };
  }

  private async readmit({ pool, slot }: Target): Promise<OperationResult> {
    const { ejected, readmits = 0, ...rest } = slot.turn ?? {};
    const { attempt } = slot.member.process;
    const health = this.options.healthOf(processId(slot.name, attempt));
    if (ejected !== attempt && health !== "ejected") {
      const rest =
        health === "failing" ? "fails its health checks; it gets requests when they succeed" : "is not ejected";
      return { ok: true, message: `${slot.name} ${rest}` };
    }
    this.set(pool, slot, { ...rest, readmits: readmits + 1 });
    this.options.log.event("info", slot.name, "was readmitted by an operator");
    return (await this.applied()) ?? { ok: true, message: `${slot.name} is readmitted` };
  }

  private async weigh({ pool, slot }: Target, weight: number): Promise<OperationResult> {
    const { name, turn } = slot;
    if (weight < 1 || weight > MAX_WEIGHT) {
      const message = `a weight is from 1 to ${MAX_WEIGHT}, not ${weight}; for no requests run paceline drain ${name}`;
      return { ok: false, code: "invalid", message };
    }
    const { weight: before = FULL_WEIGHT, ...rest } = turn ?? {};
    if (weight !== before) {
      this.set(pool, slot, weight === FULL_WEIGHT ? rest : { ...rest, weight });
      this.options.log.event("info", name, `has the weight ${weight}, not ${before}`);
    }
    const sticky = this.options.stickyOf(pool.name);
    return (await this.applied()) ?? { ok: true, message: `${name} has the weight ${weight}${heedOf(sticky)}` };
  }

  private set(pool: Pool, slot: Slot, turn: SlotTurn): void {
    const { runner, publish } = this.options;
    runner.set(setTurn(runner.fleet, pool.name, slot.index, turn));
    publish();
  }

  /** Waits until all balancers have applied the change. Returns a message if one has not. */
  private async applied(): Promise<OperationResult | undefined> {
    const { coordination } = this.options;
    const late = await coordination.whenApplied(coordination.version, FOLLOW_TIMEOUT_MS);
    if (late.length === 0) return undefined;
    const message = `${late.join(", ")} did not follow the change in time; it follows when it responds again`;
    return { ok: false, code: "failed", message };
  }

  private find(name: string): Target | OperationResult {
    const { pools } = this.options.runner.fleet;
    const serving = pools.filter((pool) => this.options.getsRequests(pool.name));
    for (const pool of serving) {
      const slot = pool.slots.find((each) => each.name === name);
      if (slot !== undefined) return { pool, slot };
      if (pool.name === name) {
        const message = `${name} is a pool: name one of its instances, such as ${name}.1`;
        return { ok: false, code: "invalid", message };
      }
    }
    const isKnown = pools.some((pool) => pool.name === name || pool.slots.some((slot) => slot.name === name));
    if (isKnown) return { ok: false, code: "invalid", message: `${name} gets no requests from the balancers` };
    const names = serving.flatMap(({ name: pool, slots }) => [pool, ...slots.map((slot) => slot.name)]);
    return { ok: false, code: "invalid", message: unknownName(name, names) };
  }
}
