/** Queries on the current fleet value. */
import type { OperationResult, Status } from "../control/api.js";
import { type Fleet, findSlot, occupants, processId, type Slot } from "../core/fleet.js";
import type { ProcessPolicy } from "../core/model.js";
import { NOT_READY, remedyFor } from "../core/words.js";
import type { SlotBook } from "../processes/slot-book.js";

/** A slot that was never ready counts as failed after this many consecutive failed starts. */
const HOPELESS_STARTS = 2;

interface ReadinessOptions {
  /** Whether only the current processes count, as opposed to earlier ready ones. */
  areNew?: boolean;
  workloadOf?(pool: string): Record<string, unknown> | undefined;
}

/**
 * Returns the result once it is known whether these slots become ready; until then undefined. The start fails if a slot is `failed`. It
 * also fails if a slot was never ready and failed to start twice, or was not ready in time while no slot of its pool ever was.
 */
export function readiness(
  slots: readonly Slot[],
  book: SlotBook,
  done: string,
  { areNew = false, workloadOf }: ReadinessOptions = {},
): OperationResult | undefined {
  let open = false;
  for (const slot of slots) {
    const { process } = slot.member;
    if (process.state === "ready") continue;
    const record = book.of(slot.name);
    const isLate = record.lastExit?.reason.startsWith(NOT_READY) ?? false;
    const isFirst = !areNew && isLate && process.failures > 0 && !hasServed(poolOf(slot), slots, book);
    const hopeless = (areNew || !record.everReady) && process.failures >= HOPELESS_STARTS;
    if (process.state === "failed" || hopeless || isFirst) {
      const reason = record.lastExit?.reason ?? "it could not be started";
      const message = `${slot.name} failed to start: ${reason}${isFirst ? remedyFor(workloadOf?.(poolOf(slot))) : ""}`;
      return { ok: false, code: "failed", message, lastLines: record.lastExit?.lastLines ?? [] };
    }
    open = true;
  }
  return open ? undefined : { ok: true, message: done };
}

/** Whether a slot of that pool has ever been ready. */
function hasServed(pool: string, slots: readonly Slot[], book: SlotBook): boolean {
  return slots.some((slot) => poolOf(slot) === pool && book.of(slot.name).everReady);
}

function poolOf({ name, index }: Slot): string {
  return name.slice(0, -`.${index}`.length);
}

/** Returns the number of ready instances of that pool. */
export function readyCount(fleet: Fleet, poolName: string): number {
  const slots = fleet.pools.find(({ name }) => name === poolName)?.slots ?? [];
  return slots.filter((slot) => slot.member.process.state === "ready").length;
}

/** Returns when the oldest process of that pool was started; undefined if not all wanted ones are ready. */
export function allReadySince(
  fleet: Fleet,
  poolName: string,
  startOf: (processId: string) => number | undefined,
): number | undefined {
  const pool = fleet.pools.find(({ name }) => name === poolName);
  const slots = pool?.slots.filter(({ index }) => index <= pool.wanted) ?? [];
  let since = Number.POSITIVE_INFINITY;
  for (const { name, member } of slots) {
    const startedAt = startOf(processId(name, member.process.attempt));
    if (member.process.state !== "ready" || startedAt === undefined) return undefined;
    since = Math.min(since, startedAt);
  }
  return slots.length === 0 ? undefined : since;
}

/** Returns all wanted slots of the fleet. */
export function wantedSlots(fleet: Fleet): Slot[] {
  return fleet.pools.flatMap((pool) => pool.slots.filter((slot) => slot.index <= pool.wanted));
}

/** Whether each wanted slot has been ready once. */
export function wereAllReady(fleet: Fleet, book: SlotBook): boolean {
  // If the control socket responds before the pools are added, there are none.
  return fleet.pools.length > 0 && wantedSlots(fleet).every(({ name }) => book.of(name).everReady);
}

/**
 * Only during its start is a fleet `starting`. A fleet that has started once is running, even while an additional instance is not ready
 * yet.
 */
export function fleetState(
  fleet: Fleet,
  book: SlotBook,
  { isStopping, hasStarted }: { isStopping: boolean; hasStarted: boolean },
): Status["state"] {
  if (isStopping) return "stopping";
  return hasStarted || wereAllReady(fleet, book) ? "running" : "starting";
}

/** Returns the generations of the pool's processes. */
export function generationsInUse(fleet: Fleet, poolName: string): Set<number> {
  const pool = fleet.pools.find(({ name }) => name === poolName);
  const used = new Set(pool === undefined ? [] : [pool.generation]);
  for (const slot of pool?.slots ?? []) for (const { occupant } of occupants(slot)) used.add(occupant.generation);
  return used;
}

/** Whether this process exited unexpectedly: it was a member that should have kept running. */
export function isUnwantedEnd(fleet: Fleet, ended: { pool: string; index: number; attempt: number }): boolean {
  const process = findSlot(fleet, ended.pool, ended.index)?.member.process;
  if (process === undefined || process.attempt !== ended.attempt) return false;
  if (process.state === "killing") return process.cause !== "slow";
  return process.state === "starting" || process.state === "ready";
}

/** Returns the maximum time that stopping a process may take, including SIGKILL, its warning and a margin. */
export function longestEndMs(policy: ProcessPolicy): number {
  return (
    Math.max(policy.drainTimeoutMs, policy.readyTimeoutMs) + policy.termTimeoutMs + 2 * policy.killTimeoutMs + 2000
  );
}

export function counted(instances: number): string {
  return instances === 1 ? "1 instance" : `${instances} instances`;
}
