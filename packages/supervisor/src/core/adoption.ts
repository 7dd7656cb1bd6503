/** How a new supervisor takes over the fleet of an earlier one: the fleet as JSON, and what happens to each process. Pure. */
import { type Fleet, findPool, occupants, type Pool, processId, type Slot } from "./fleet.js";
import {
  discardReplacement,
  type FleetChange,
  type FleetContext,
  report,
  resize,
  setCanaryShare,
} from "./fleet-changes.js";
import { isAlive, type Process } from "./process.js";

/** A fleet without maps and sets. Its times are those of the clock that `saveFleet` was given. */
export interface SavedFleet {
  pools: SavedPool[];
}

interface SavedPool extends Omit<Pool, "served" | "nextAttempts"> {
  served: number[];
  nextAttempts: [index: number, attempt: number][];
}

/** @param shiftMs added to every time, for example the Unix time at which the fleet's clock was 0 */
export function saveFleet({ pools }: Fleet, shiftMs: number): SavedFleet {
  return {
    pools: pools.map((pool) => ({
      ...pool,
      served: [...pool.served],
      nextAttempts: [...pool.nextAttempts],
      slots: pool.slots.map((slot) => shifted(slot, shiftMs)),
    })),
  };
}

/**
 * The reverse of `saveFleet`.
 * @param sizes the wanted sizes of pools, if the saved ones are those of a stop in progress
 */
export function restoreFleet(
  { pools }: SavedFleet,
  shiftMs: number,
  sizes: readonly (readonly [pool: string, wanted: number])[] = [],
): Fleet {
  return {
    pools: pools.map((pool) => ({
      ...pool,
      wanted: sizes.find(([name]) => name === pool.name)?.[1] ?? pool.wanted,
      served: new Set(pool.served),
      nextAttempts: new Map(pool.nextAttempts),
      slots: pool.slots.map((slot) => shifted(slot, shiftMs)),
    })),
  };
}

function shifted(slot: Slot, ms: number): Slot {
  const { member, other, warm } = slot;
  return {
    ...slot,
    member: { ...member, process: moved(member.process, ms) },
    other: other && { ...other, process: moved(other.process, ms) },
    ...(warm && { warm: { ...warm, process: moved(warm.process, ms) } }),
  };
}

function moved(process: Process, ms: number): Process {
  const next = { ...process, failuresAt: process.failuresAt.map((at) => at + ms) };
  if ("deadline" in next && next.deadline !== null) next.deadline += ms;
  if (next.state === "draining" && next.step === "leave") next.drainBy += ms;
  return next;
}

/** Makes the slot's next attempt greater than `attempt`, which belongs to a process that is not in the saved fleet. */
export function skipAttempt(fleet: Fleet, poolName: string, index: number, attempt: number): Fleet {
  const next = (process: Process): Process => ({
    ...process,
    nextAttempt: Math.max(process.nextAttempt, attempt + 1),
  });
  const change = (pool: Pool): Pool => {
    const known = pool.slots.some((slot) => slot.index === index);
    const nextAttempts = new Map(pool.nextAttempts);
    if (!known) nextAttempts.set(index, Math.max(nextAttempts.get(index) ?? 1, attempt + 1));
    const slots = pool.slots.map((slot): Slot => {
      if (slot.index !== index) return slot;
      const { member, other, warm } = slot;
      return {
        ...slot,
        member: { ...member, process: next(member.process) },
        other: other && { ...other, process: next(other.process) },
        ...(warm && { warm: { ...warm, process: next(warm.process) } }),
      };
    });
    return { ...pool, nextAttempts, slots };
  };
  return { pools: fleet.pools.map((pool) => (pool.name === poolName ? change(pool) : pool)) };
}

/** Makes a process that the saved fleet does not know the slot's member, because the former member has exited. */
export function takePlace(
  fleet: Fleet,
  poolName: string,
  index: number,
  { attempt, generation, isReady }: { attempt: number; generation: number; isReady: boolean },
): Fleet {
  const replaced = (process: Process): Process => {
    const { failuresAt, failures } = process;
    const nextAttempt = Math.max(process.nextAttempt, attempt + 1);
    const common = { goal: "up", attempt, nextAttempt, failuresAt, failures } as const;
    // `adopt` sets its deadline.
    return isReady
      ? { ...common, hasServed: true, state: "ready", deadline: 0 }
      : { ...common, hasServed: process.hasServed, state: "starting", deadline: 0 };
  };
  const change = (slot: Slot): Slot =>
    slot.index === index
      ? { ...slot, member: { ...slot.member, generation, process: replaced(slot.member.process) } }
      : slot;
  return {
    pools: fleet.pools.map((pool) => (pool.name === poolName ? { ...pool, slots: pool.slots.map(change) } : pool)),
  };
}

/**
 * Adopts a restored fleet. A process that is still running continues in its state. A process that has exited counts as a failure. The
 * replacements of a rollout in progress are stopped, because the processes in service are proven. The replacements of a deploy are no
 * longer canaries. Starts missing slots.
 */
export function adopt(fleet: Fleet, isRunning: (processId: string) => boolean, context: FleetContext): FleetChange {
  let change: FleetChange = { fleet, effects: [] };
  const then = (next: (fleet: Fleet) => FleetChange) => {
    const after = next(change.fleet);
    change = { fleet: after.fleet, effects: [...change.effects, ...after.effects] };
  };
  for (const { name: pool, slots } of fleet.pools) {
    for (const slot of slots) {
      for (const { occupant } of occupants(slot)) {
        const { process } = occupant;
        const { attempt } = process;
        const isLost = isAlive(process) && !isRunning(processId(slot.name, attempt));
        const event = isLost
          ? ({ type: "exited", attempt, status: { code: null, signal: null } } as const)
          : ({ type: "adopted", attempt } as const);
        then((now) => report(now, pool, slot.index, event, context));
      }
    }
    for (const { index } of slots) then((now) => discardReplacement(now, pool, index, context));
    then((now) => ({ fleet: setCanaryShare(now, pool, undefined), effects: [] }));
    then((now) => resize(now, pool, findPool(now, pool)?.wanted ?? 0, context));
  }
  return change;
}

/** Returns the slots whose member is of another generation than new slots would get, because a rollout of that pool was interrupted. */
export function slotsOfOtherGenerations({ slots, generation, wanted }: Pool): number[] {
  return slots
    .filter(({ index, member }) => index <= wanted && member.generation !== generation)
    .map((slot) => slot.index);
}
