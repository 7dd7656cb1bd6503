/** The fleet as a value: pools of slots, each with a member and at most one replacement or outgoing process. Pure. */
import { isAlive, type Process } from "./process.js";

/** A process in a slot, and its generation of config and code. */
interface Occupant {
  readonly process: Process;
  readonly generation: number;
}

export interface Slot {
  /** Such as `web.3`. */
  readonly name: string;
  /** Starts at 1. */
  readonly index: number;
  readonly member: Occupant;
  /** The second process: a replacement that is starting, or the outgoing process that drains. */
  readonly other: (Occupant & { readonly role: "replacement" | "outgoing" }) | null;
}

export interface Pool {
  readonly name: string;
  /** The number of slots the pool should have; higher ones are being removed. */
  readonly wanted: number;
  /** The generation of new slots. */
  readonly generation: number;
  /** Whether any process of the pool has ever been ready. From then on, no member is given up. */
  readonly hasServed: boolean;
  /** The generations in use that have had a ready process. */
  readonly served: ReadonlySet<number>;
  /** By index. */
  readonly slots: readonly Slot[];
  /** The next attempt number of removed slots, so that a slot that is added again never reuses a process name. */
  readonly nextAttempts: ReadonlyMap<number, number>;
}

export interface Fleet {
  readonly pools: readonly Pool[];
}

export type Role = "member" | "replacement" | "outgoing";

export const EMPTY_FLEET: Fleet = { pools: [] };

/** Returns a process's name: `web.3#7` is the seventh spawn in the slot web.3. */
export function processId(slotName: string, attempt: number): string {
  return `${slotName}#${attempt}`;
}

export function findPool(fleet: Fleet, name: string): Pool | undefined {
  return fleet.pools.find((pool) => pool.name === name);
}

export function findSlot(fleet: Fleet, pool: string, index: number): Slot | undefined {
  return findPool(fleet, pool)?.slots.find((slot) => slot.index === index);
}

/** Returns the processes of a slot with their roles. */
export function occupants(slot: Slot): { role: Role; occupant: Occupant }[] {
  const member = { role: "member" as Role, occupant: slot.member };
  return slot.other === null ? [member] : [member, { role: slot.other.role, occupant: slot.other }];
}

/** Whether no OS process is left in the pool, or in the whole fleet. */
export function isDown(fleet: Fleet, poolName?: string): boolean {
  return fleet.pools
    .filter((pool) => poolName === undefined || pool.name === poolName)
    .every((pool) => pool.slots.every((slot) => occupants(slot).every(({ occupant }) => !isAlive(occupant.process))));
}
