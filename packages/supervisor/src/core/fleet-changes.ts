/** Changes to the fleet: sizes, commands, reports and swaps. Each returns the new fleet and the effects to carry out. Pure. */
import {
  type Fleet,
  findPool,
  findSlot,
  occupants,
  type Pool,
  processId,
  type Role,
  type Slot,
  type SlotTurn,
} from "./fleet.js";
import { type Command, type Effect, newProcess, type Report, type SlotPolicy } from "./process.js";
import { transition } from "./transition.js";

/** An effect and the process that it applies to. */
export interface FleetEffect {
  readonly pool: string;
  /** The slot, for example `web.3`. */
  readonly name: string;
  readonly index: number;
  /** The process, for example `web.3#7`. */
  readonly id: string;
  readonly role: Role;
  readonly attempt: number;
  readonly generation: number;
  readonly effect: Effect;
}

export interface FleetChange {
  readonly fleet: Fleet;
  readonly effects: readonly FleetEffect[];
}

/** External input of a change. */
export interface FleetContext {
  /** Milliseconds since the epoch. */
  now: number;
  /** 0 ≤ random < 1. */
  random: number;
  /** Returns the policy of a process of that generation, since the pool's other generations may have different ones. */
  policyOf(pool: string, generation: number): SlotPolicy;
}

/** Adds a pool without slots; `resize` fills it. */
export function addPool(fleet: Fleet, name: string, generation: number): Fleet {
  return {
    pools: [
      ...fleet.pools,
      { name, wanted: 0, generation, hasServed: false, served: new Set(), slots: [], nextAttempts: new Map() },
    ],
  };
}

/** Removes a pool without slots from the fleet. */
export function removePool(fleet: Fleet, name: string): Fleet {
  return { pools: fleet.pools.filter((pool) => pool.name !== name || pool.slots.length > 0) };
}

/** Sets the generation of the pool's new slots. */
export function setGeneration(fleet: Fleet, name: string, generation: number): Fleet {
  const change = (pool: Pool): Pool => ({ ...pool, generation, served: inUse(pool.served, { ...pool, generation }) });
  return { pools: fleet.pools.map((pool) => (pool.name === name ? change(pool) : pool)) };
}

/** Starts missing slots, and stops the highest ones above `wanted`, which are removed when their processes have exited. */
export function resize(fleet: Fleet, name: string, wanted: number, context: FleetContext): FleetChange {
  const pool = findPool(fleet, name);
  if (pool === undefined) return { fleet, effects: [] };
  const slots = [...pool.slots];
  for (let index = 1; index <= wanted; index++) {
    if (slots.some((slot) => slot.index === index)) continue;
    slots.push(newSlot(pool, index));
  }
  slots.sort((a, b) => a.index - b.index);
  const resized = { ...pool, wanted, slots };
  let change: FleetChange = { fleet: { pools: fleet.pools.map((p) => (p === pool ? resized : p)) }, effects: [] };
  for (const slot of slots) {
    const { index } = slot;
    if (index > wanted) {
      change = andThen(change, (f) => settle(command(f, name, index, { type: "stop" }, context), name, index));
    } else if (slot.member.process.goal !== "up") {
      // A slot whose goal is already `up` is skipped, so that scaling never shortens a backoff.
      change = andThen(change, (f) => command(f, name, index, { type: "start" }, context));
    }
  }
  return change;
}

/** Sends a command to a slot's member; `stop` also goes to its other processes. A slot that is being removed only stops. */
export function command(fleet: Fleet, pool: string, index: number, event: Command, context: FleetContext): FleetChange {
  if (event.type !== "stop" && isBeingRemoved(fleet, pool, index)) return { fleet, effects: [] };
  const changed = apply(fleet, pool, index, "member", event, context);
  if (event.type !== "stop") return changed;
  return andThen(
    andThen(changed, (f) => apply(f, pool, index, "other", event, context)),
    (f) => apply(f, pool, index, "warm", event, context),
  );
}

function isBeingRemoved(fleet: Fleet, pool: string, index: number): boolean {
  return index > (findPool(fleet, pool)?.wanted ?? 0);
}

/** Passes a report to the process that it is about. Drops it if that process no longer exists. */
export function report(fleet: Fleet, pool: string, index: number, event: Report, context: FleetContext): FleetChange {
  const slot = findSlot(fleet, pool, index);
  if (slot === undefined) return { fleet, effects: [] };
  const which =
    slot.other?.process.attempt === event.attempt
      ? "other"
      : slot.warm?.process.attempt === event.attempt
        ? "warm"
        : "member";
  return apply(fleet, pool, index, which, event, context);
}

/** Starts a second process in the slot, which will replace the member. Does nothing if the slot already has two or is being removed. */
export function startReplacement(
  fleet: Fleet,
  pool: string,
  index: number,
  generation: number,
  context: FleetContext,
): FleetChange {
  const slot = findSlot(fleet, pool, index);
  if (slot === undefined || slot.other !== null || isBeingRemoved(fleet, pool, index)) return { fleet, effects: [] };
  const process = newProcess(slot.member.process.nextAttempt);
  const placed = replaceSlot(fleet, pool, { ...slot, other: { role: "replacement", process, generation } });
  return apply(placed, pool, index, "other", { type: "start" }, context);
}

/** Stops the replacement; the slot keeps its member. */
export function discardReplacement(fleet: Fleet, pool: string, index: number, context: FleetContext): FleetChange {
  if (findSlot(fleet, pool, index)?.other?.role !== "replacement") return { fleet, effects: [] };
  return apply(fleet, pool, index, "other", { type: "stop" }, context);
}

/**
 * Makes the replacement the member, and stops the former member as the outgoing process.
 * @param keepWarmMs keeps the former member warm for this time instead, if it is ready and the slot has no other warm process
 */
export function swap(fleet: Fleet, pool: string, index: number, context: FleetContext, keepWarmMs = 0): FleetChange {
  const slot = findSlot(fleet, pool, index);
  if (slot?.other?.role !== "replacement") return { fleet, effects: [] };
  const { process, generation } = slot.other;
  if (keepWarmMs > 0 && slot.member.process.state === "ready" && slot.warm === undefined) {
    const kept: Slot = { ...slot, member: { process, generation }, other: null, warm: slot.member };
    return apply(replaceSlot(fleet, pool, kept), pool, index, "warm", { type: "park", keepMs: keepWarmMs }, context);
  }
  const swapped: Slot = { ...slot, member: { process, generation }, other: { role: "outgoing", ...slot.member } };
  return settle(apply(replaceSlot(fleet, pool, swapped), pool, index, "other", { type: "stop" }, context), pool, index);
}

/**
 * Makes the warm process the slot's member, and stops the former member as the outgoing process. A replacement is also stopped. Does
 * nothing without a warm process.
 */
export function exchangeWarm(fleet: Fleet, pool: string, index: number, context: FleetContext): FleetChange {
  const slot = findSlot(fleet, pool, index);
  if (slot?.warm?.process.state !== "warm" || isBeingRemoved(fleet, pool, index)) return { fleet, effects: [] };
  const placed = replaceSlot(fleet, pool, { ...slot, member: slot.warm, warm: slot.member });
  const joined = apply(placed, pool, index, "member", { type: "unpark" }, context);
  const left = andThen(joined, (f) => apply(f, pool, index, "warm", { type: "stop" }, context));
  return andThen(settle(left, pool, index), (f) => discardReplacement(f, pool, index, context));
}

/**
 * Restores the slot's warm process if `usesWarm` is set and the process is of that generation; otherwise starts a replacement. An existing
 * replacement is stopped first. The slot waits until its second process has exited, which has a deadline.
 */
export function renew(
  fleet: Fleet,
  pool: string,
  index: number,
  { generation, usesWarm }: { generation: number; usesWarm: boolean },
  context: FleetContext,
): FleetChange & { step: "restored" | "started" | "waits" } {
  const warm = findSlot(fleet, pool, index)?.warm;
  if (usesWarm && warm?.generation === generation && warm.process.state === "warm")
    return { ...exchangeWarm(fleet, pool, index, context), step: "restored" };
  const freed = discardReplacement(fleet, pool, index, context);
  if (findSlot(freed.fleet, pool, index)?.other != null) return { ...freed, step: "waits" };
  return { ...andThen(freed, (f) => startReplacement(f, pool, index, generation, context)), step: "started" };
}

/** Stops the processes of a pool that are kept warm. */
export function endWarm(fleet: Fleet, pool: string, context: FleetContext): FleetChange {
  let change: FleetChange = { fleet, effects: [] };
  for (const { index } of findPool(fleet, pool)?.slots ?? [])
    change = andThen(change, (f) => apply(f, pool, index, "warm", { type: "stop" }, context));
  return change;
}

/** From now on, replacements of another generation together get this percentage of the turns; undefined: as many as others. */
export function setCanaryShare(fleet: Fleet, name: string, share: number | undefined): Fleet {
  const pool = findPool(fleet, name);
  if (pool === undefined || pool.canaryShare === share) return fleet;
  const { canaryShare: _, ...rest } = pool;
  return replacePool(fleet, share === undefined ? rest : { ...rest, canaryShare: share });
}

/** Sets the operator's wishes for a slot's turns. */
export function setTurn(fleet: Fleet, pool: string, index: number, turn: SlotTurn): Fleet {
  const slot = findSlot(fleet, pool, index);
  if (slot === undefined) return fleet;
  const { turn: _, ...rest } = slot;
  return replaceSlot(fleet, pool, Object.keys(turn).length === 0 ? rest : { ...rest, turn });
}

/** Gives the slot's member another generation, and restarts it: the current process exits before the next one starts. */
export function replaceInPlace(
  fleet: Fleet,
  pool: string,
  index: number,
  generation: number,
  context: FleetContext,
): FleetChange {
  const slot = findSlot(fleet, pool, index);
  if (slot === undefined || isBeingRemoved(fleet, pool, index)) return { fleet, effects: [] };
  const placed = replaceSlot(fleet, pool, { ...slot, member: { ...slot.member, generation } });
  return command(placed, pool, index, { type: "restart" }, context);
}

/** Returns those of `generations` that the pool's slots use or would start with. */
function inUse(generations: Iterable<number>, pool: Pool): ReadonlySet<number> {
  const used = pool.slots.flatMap((slot) => occupants(slot).map(({ occupant }) => occupant.generation));
  return new Set([...generations].filter((generation) => generation === pool.generation || used.includes(generation)));
}

/** Records that a process of this generation is ready for the first time, and restarts its members that had failed. */
function serve(fleet: Fleet, poolName: string, generation: number, context: FleetContext): FleetChange {
  const pool = findPool(fleet, poolName);
  if (pool === undefined || pool.served.has(generation)) return { fleet, effects: [] };
  let change: FleetChange = {
    fleet: replacePool(fleet, { ...pool, hasServed: true, served: inUse([...pool.served, generation], pool) }),
    effects: [],
  };
  for (const { index, member } of pool.slots) {
    if (member.generation !== generation || member.process.state !== "failed") continue;
    change = andThen(change, (f) => apply(f, poolName, index, "member", { type: "start" }, context));
  }
  return change;
}

/**
 * Whether a slot must be retried forever. A replacement of a generation that has never served may fail, because its member keeps serving.
 */
function mayNotGiveUp(fleet: Fleet, poolName: string, which: Which, generation: number): boolean {
  const pool = findPool(fleet, poolName);
  if (pool === undefined) return false;
  return which === "member" ? pool.hasServed : pool.served.has(generation);
}

type Which = "member" | "other" | "warm";

/** Runs one event through the state machine of one of the slot's processes. */
function apply(
  fleet: Fleet,
  poolName: string,
  index: number,
  which: Which,
  event: Command | Report,
  context: FleetContext,
): FleetChange {
  const slot = findSlot(fleet, poolName, index);
  const before = slot?.[which];
  if (slot === undefined || before == null) return { fleet, effects: [] };
  const hasServed = before.process.hasServed || mayNotGiveUp(fleet, poolName, which, before.generation);
  const known = hasServed === before.process.hasServed ? before.process : { ...before.process, hasServed };
  const policy = context.policyOf(poolName, before.generation);
  const { process, effects } = transition(known, event, policy, context.now, context.random);
  if (process === known && effects.length === 0) return { fleet, effects: [] };
  const role: Role = which === "other" ? (slot.other?.role ?? "outgoing") : which;
  // A restarted member keeps its generation; only a rollout or a new slot uses a new one.
  const tag = (attempt: number, effect: Effect): FleetEffect => ({
    pool: poolName,
    name: slot.name,
    index,
    id: processId(slot.name, attempt),
    role,
    attempt,
    generation: before.generation,
    effect,
  });
  const tagged = effects.map((effect) => tag(process.attempt, effect));
  if (process.attempt !== before.process.attempt)
    tagged.unshift(tag(before.process.attempt, { type: "clearDeadline" }));
  const changed = { ...slot, [which]: { ...before, process } };
  const applied = { fleet: replaceSlot(fleet, poolName, shareAttempts(changed)), effects: tagged };
  const noted =
    process.state === "ready" ? andThen(applied, (f) => serve(f, poolName, before.generation, context)) : applied;
  return settle(noted, poolName, index);
}

/** All processes of a slot are numbered by one counter. */
function shareAttempts(slot: Slot): Slot {
  const { member, other, warm } = slot;
  if (other === null && warm === undefined) return slot;
  const nextAttempt = Math.max(...occupants(slot).map(({ occupant }) => occupant.process.nextAttempt));
  return {
    ...slot,
    member: { ...member, process: { ...member.process, nextAttempt } },
    other: other && { ...other, process: { ...other.process, nextAttempt } },
    ...(warm && { warm: { ...warm, process: { ...warm.process, nextAttempt } } }),
  };
}

/** Removes an `other` or `warm` process that has stopped, and a slot above `wanted` without processes. */
function settle(change: FleetChange, poolName: string, index: number): FleetChange {
  const slot = findSlot(change.fleet, poolName, index);
  const pool = findPool(change.fleet, poolName);
  if (slot === undefined || pool === undefined) return change;
  const other = slot.other?.process.state === "stopped" ? null : slot.other;
  const { warm: kept, ...rest } = slot;
  const warm = kept?.process.state === "stopped" ? undefined : kept;
  const over = index > pool.wanted && slot.member.process.state === "stopped" && other === null && warm === undefined;
  if (over) {
    const slots = pool.slots.filter((s) => s.index !== index);
    const nextAttempts = new Map(pool.nextAttempts).set(index, slot.member.process.nextAttempt);
    return { ...change, fleet: replacePool(change.fleet, { ...pool, slots, nextAttempts }) };
  }
  if (other === slot.other && warm === kept) return change;
  const settled: Slot = { ...rest, other, ...(warm && { warm }) };
  return { ...change, fleet: replaceSlot(change.fleet, poolName, settled) };
}

function newSlot(pool: Pool, index: number): Slot {
  const member = { process: newProcess(pool.nextAttempts.get(index)), generation: pool.generation };
  return { name: `${pool.name}.${index}`, index, member, other: null };
}

function replacePool(fleet: Fleet, pool: Pool): Fleet {
  return { pools: fleet.pools.map((p) => (p.name === pool.name ? pool : p)) };
}

function replaceSlot(fleet: Fleet, poolName: string, slot: Slot): Fleet {
  const pool = findPool(fleet, poolName);
  if (pool === undefined) return fleet;
  return replacePool(fleet, { ...pool, slots: pool.slots.map((s) => (s.index === slot.index ? slot : s)) });
}

/** Applies a second change to the result of the first. Combines the effects of both. */
function andThen(first: FleetChange, next: (fleet: Fleet) => FleetChange): FleetChange {
  const second = next(first.fleet);
  return { fleet: second.fleet, effects: [...first.effects, ...second.effects] };
}
