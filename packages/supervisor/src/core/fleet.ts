/** The fleet as a value: pools of slots, each with one member and at most one replacement or outgoing process. Pure. */
import { isAlive, type Process } from "./process.js";

/** A process in a slot, and the generation of config and code it is of. */
export interface Occupant {
  readonly process: Process;
  readonly generation: number;
}

export interface Slot {
  /** Such as `web.3`. */
  readonly name: string;
  /** From 1. */
  readonly index: number;
  readonly member: Occupant;
  /** The second process: coming up to take the member's place, or draining after it lost it. */
  readonly other: (Occupant & { readonly role: "replacement" | "outgoing" }) | null;
}

export interface Pool {
  readonly name: string;
  /** How many slots there shall be; those above are on their way out. */
  readonly wanted: number;
  /** The generation that new slots are of. */
  readonly generation: number;
  /** Whether a process of any generation has ever been ready: from then on no member is given up. */
  readonly hasServed: boolean;
  /** Those of the generations in use of which a process has been ready. */
  readonly served: ReadonlySet<number>;
  /** By index. */
  readonly slots: readonly Slot[];
  /** The next attempt of slots that are gone, so that one that comes back never repeats the name of a process. */
  readonly nextAttempts: ReadonlyMap<number, number>;
}

export interface Fleet {
  readonly pools: readonly Pool[];
}

export type Role = "member" | "replacement" | "outgoing";

export const EMPTY_FLEET: Fleet = { pools: [] };

/** `web.3#7`: the seventh spawn in the slot web.3. */
export function processId(slotName: string, attempt: number): string {
  return `${slotName}#${attempt}`;
}

export function findPool(fleet: Fleet, name: string): Pool | undefined {
  return fleet.pools.find((pool) => pool.name === name);
}

export function findSlot(fleet: Fleet, pool: string, index: number): Slot | undefined {
  return findPool(fleet, pool)?.slots.find((slot) => slot.index === index);
}

/** Both processes of a slot, with the part each plays. */
export function occupants(slot: Slot): { role: Role; occupant: Occupant }[] {
  const member = { role: "member" as Role, occupant: slot.member };
  return slot.other === null ? [member] : [member, { role: slot.other.role, occupant: slot.other }];
}

/** True when no OS process is left in the pool, or in the whole fleet. */
export function isDown(fleet: Fleet, poolName?: string): boolean {
  return fleet.pools
    .filter((pool) => poolName === undefined || pool.name === poolName)
    .every((pool) => pool.slots.every((slot) => occupants(slot).every(({ occupant }) => !isAlive(occupant.process))));
}
