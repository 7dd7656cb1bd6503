/**
 * Decides which instances serve: those that are ready and not drained. The agent-check, the autoscaler, `drain` and the status all use this
 * rule. Pure.
 */
import { outOfTurn, type Pool, type Slot } from "./fleet.js";

/** Ejected instances serve, too, because they get requests if there are no others. */
export function serves({ state, outOfTurn }: { state: string; outOfTurn?: string | null | undefined }): boolean {
  return state === "ready" && outOfTurn !== "drained";
}

export function slotServes({ member: { process }, turn }: Slot): boolean {
  return serves({ state: process.state, outOfTurn: outOfTurn(turn, process) });
}

/** Counts the slots that the pool should have and that serve, and those that are drained. */
export function servingOf({ slots, wanted }: Pool): { serving: number; drained: number } {
  const own = slots.filter(({ index }) => index <= wanted);
  return {
    serving: own.filter(slotServes).length,
    drained: own.filter(({ turn }) => turn?.drained === true).length,
  };
}

/** Whether another slot of the pool serves. */
export function hasOtherServing({ slots }: Pool, index: number): boolean {
  return slots.some((slot) => slot.index !== index && slotServes(slot));
}

const UNSERVED = "serves no requests";

/** Returns the problem of a pool that should serve requests but has no serving instance; undefined if there is none. */
export function unservedReason(pool: Pool): string | undefined {
  const isWanted = pool.slots.some(({ index, member }) => index <= pool.wanted && member.process.goal === "up");
  if (!isWanted || pool.slots.some(slotServes)) return undefined;
  const { drained } = servingOf(pool);
  const some =
    drained === pool.wanted ? "all of its instances are drained" : "those that are not drained are not ready";
  const why = drained === 0 ? "none of its instances is ready" : some;
  return `${pool.name} ${UNSERVED}: ${why}`;
}

/** Whether a problem of the fleet is that this pool has no serving instance. */
export function isUnserved(problem: string, pool: string): boolean {
  return problem.startsWith(`${pool} ${UNSERVED}`);
}

/** Returns `3/3 ready`, with `, 1 drained` if operators have drained some. */
export function readyText({
  ready,
  wanted,
  instances,
}: {
  ready: number;
  wanted: number;
  instances: readonly { state: string; outOfTurn?: string | null }[];
}): string {
  const drained = instances.filter(({ outOfTurn }) => outOfTurn === "drained").length;
  return `${ready}/${wanted} ready${drained === 0 ? "" : `, ${drained} drained`}`;
}

/** Whether a runtime can open several sockets for one address, as direct mode needs: Bun, and Node from 22.12 or 23.1 on. */
export function canShareAddresses({ bun, node = "" }: { bun?: string; node?: string }): boolean {
  if (bun !== undefined) return true;
  const [major = 0, minor = 0] = node.split(".").map(Number);
  return major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);
}
