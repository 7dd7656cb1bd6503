/**
 * The fleet as a value: pools of slots, each with a member, at most one replacement or outgoing process, and one that is kept warm. Also
 * creates the balancers' snapshot from it: the upstreams of each pool, in the order of turns. Pure.
 */

import type { PolicyName, ProxyVersion, StickyRule } from "@paceline/wire";
import type { RelayTraits } from "./model.js";
import { isAlive, type Process } from "./process.js";

/** A process in a slot, and its generation of config and code. */
interface Occupant {
  readonly process: Process;
  readonly generation: number;
}

/** An operator's settings for the turns of a slot. They outlive the slot's processes, except for an ejection. */
export interface SlotTurn {
  /** Its processes get no new requests. */
  readonly drained?: true;
  /** The attempt of the process that gets new requests only if all others are ejected, too. */
  readonly ejected?: number;
  /** Its weight; others have `FULL_WEIGHT`. */
  readonly weight?: number;
  /** How often the slot was readmitted, which ends the ejections of the balancers. */
  readonly readmits?: number;
}

/** The weight of a slot without a weight of its own, and the maximum. They are equal to FULL_SHARE and MAX_SHARE of packages/wire. */
export const FULL_WEIGHT = 100;
export const MAX_WEIGHT = 1000;

export interface Slot {
  /** For example `web.3`. */
  readonly name: string;
  /** Starts at 1. */
  readonly index: number;
  readonly member: Occupant;
  /** The second process: a replacement that is starting, or the outgoing process that is draining. */
  readonly other: (Occupant & { readonly role: "replacement" | "outgoing" }) | null;
  /** The member before a deploy, kept warm for a rollback or stopping; absent if there is none. */
  readonly warm?: Occupant;
  /** Absent if the operator has set nothing. */
  readonly turn?: SlotTurn;
}

export interface Pool {
  readonly name: string;
  /** The number of slots that the pool should have; higher ones are being removed. */
  readonly wanted: number;
  /** The generation of new slots. */
  readonly generation: number;
  /** Whether a process of the pool has ever been ready. From then on, its members are restarted forever. */
  readonly hasServed: boolean;
  /** The generations in use that have had a ready process. */
  readonly served: ReadonlySet<number>;
  /** By index. */
  readonly slots: readonly Slot[];
  /** The next attempt numbers of removed slots. If a slot is added again, it never reuses the name of a process. */
  readonly nextAttempts: ReadonlyMap<number, number>;
  /** During a deploy with canaries: the percentage of the turns that the replacements of another generation get together. */
  readonly canaryShare?: number;
}

export interface Fleet {
  readonly pools: readonly Pool[];
}

export type Role = "member" | "replacement" | "outgoing" | "warm";

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
  const all: { role: Role; occupant: Occupant }[] = [{ role: "member", occupant: slot.member }];
  if (slot.other !== null) all.push({ role: slot.other.role, occupant: slot.other });
  if (slot.warm !== undefined) all.push({ role: "warm", occupant: slot.warm });
  return all;
}

/** Whether no OS process is left in the pool, or in the whole fleet. */
export function isDown(fleet: Fleet, poolName?: string): boolean {
  return fleet.pools
    .filter((pool) => poolName === undefined || pool.name === poolName)
    .every((pool) => pool.slots.every((slot) => occupants(slot).every(({ occupant }) => !isAlive(occupant.process))));
}

/** Requests do not wait for a pool whose slots have more consecutive failures than this. */
const MAX_AWAITED_FAILURES = 2;

/** One pool in the snapshot; the same shape as SnapshotPool of packages/wire. */
export interface PoolView {
  name: string;
  mode?: "tcp";
  routes: string[];
  stripPrefix: boolean;
  requestTimeoutMs?: number;
  internalRoots?: string[];
  sendsFiles?: boolean;
  takesAllRequests?: boolean;
  policy?: PolicyName;
  errorPages?: { status: number; path: string; changedAt: number }[];
  queueTimeoutMs?: number;
  priority?: { high: string[]; low: string[] };
  sticky?: StickyRule;
  awaited?: true;
  judged?: true;
  upstreams: ({ id: string; name: string; weight?: number; canary?: true } & TurnView & Reach)[];
}

/** The turns of a process in the snapshot. */
interface TurnView {
  share?: number;
  readmits?: number;
  outOfTurn?: "drained" | "ejected";
  backup?: true;
}

/** The address of a process, and how to use it. */
export interface Reach {
  /** The path of its unix socket, or its TCP address if it has no socket. */
  socket?: string;
  tcp?: { host: string; port: number };
  protocol: "http1" | "lane" | "http1+control";
  maxInFlight?: number;
  /** Whether it is not one of Paceline's servers. */
  foreign?: boolean;
  /** Whether a connection to the process may carry the requests of only one client. */
  perClient?: boolean;
  /** The version of the PROXY header at the start of each connection to it. */
  sendProxy?: ProxyVersion;
  /** Whether its health checks fail. */
  failsChecks?: boolean;
  /** The cookie value for its slot, and the one for its slot and generation. */
  cookie?: string;
  alsoCookie?: string;
}

/** The routes to a pool, and the path that its instances see. */
export interface PoolRoutes {
  readonly routes: readonly string[];
  readonly stripPrefix: boolean;
  /** 0 or absent: the balancer's limit applies. */
  readonly requestTimeoutMs?: number;
  readonly relayed?: RelayTraits;
  /** How many of its last instances are backups. Default: none. */
  readonly backups?: number;
}

/** The routes of each pool. Pools without requests (the balancers, workers) have no entry. */
interface RoutesByPool {
  get(pool: string): PoolRoutes | undefined;
}

/** Returns the ready processes of each pool in slot order, a member before its replacement. */
export function poolViews(
  fleet: Fleet,
  routes: RoutesByPool,
  reach: (processId: string) => Reach | undefined,
): PoolView[] {
  return fleet.pools.flatMap((pool) => {
    const served = routes.get(pool.name);
    if (served === undefined) return [];
    const upstreams = weighted(
      pool,
      pool.slots.flatMap((slot) =>
        occupants(slot)
          .filter(({ occupant }) => occupant.process.state === "ready")
          .flatMap(({ role, occupant }) => {
            const id = processId(slot.name, occupant.process.attempt);
            const reached = reach(id);
            // A worker has no address. It can be in a pool with routes while a reload changes the pool's kind.
            if (reached === undefined) return [];
            const own = isCanary(pool, role, occupant) ? canaryReach(reached) : reached;
            const isBackup = slot.index > pool.wanted - (served.backups ?? 0);
            const turn = { ...turnView(slot.turn, occupant.process), ...(isBackup && { backup: true as const }) };
            return [{ id, name: slot.name, ...own, ...turn }];
          }),
      ),
    );
    const { stripPrefix, requestTimeoutMs = 0, relayed } = served;
    const timeout = requestTimeoutMs > 0 ? { requestTimeoutMs } : {};
    const mayServe = upstreams.some(({ outOfTurn }) => outOfTurn !== "drained");
    const awaited = !mayServe && isAwaited(pool) ? { awaited: true as const } : {};
    return [
      { name: pool.name, routes: [...served.routes], stripPrefix, ...timeout, ...relayed, ...awaited, upstreams },
    ];
  });
}

/** Whether and why a process of a slot gets no new requests. */
export function outOfTurn(turn: SlotTurn | undefined, { attempt }: Pick<Process, "attempt">): TurnView["outOfTurn"] {
  if (turn?.drained === true) return "drained";
  return turn?.ejected === attempt ? "ejected" : undefined;
}

function turnView(turn: SlotTurn | undefined, process: Process): TurnView {
  const reason = outOfTurn(turn, process);
  const { weight: share, readmits } = turn ?? {};
  return {
    ...(share !== undefined && { share }),
    ...(readmits !== undefined && { readmits }),
    ...(reason !== undefined && { outOfTurn: reason }),
  };
}

/** Whether a pool should shrink, and all slots that would remain are drained. */
export function leavesOnlyDrained({ slots, wanted }: Pool, size: number): boolean {
  return size > 0 && size < wanted && slots.every(({ index, turn }) => index > size || turn?.drained === true);
}

/** Puts drained slots last, because the first slots of a deploy become canaries, which need requests. */
export function drainedLast({ slots }: Pool, indexes: readonly number[]): number[] {
  const drained = new Set(slots.flatMap(({ index, turn }) => (turn?.drained === true ? [index] : [])));
  return [...indexes.filter((index) => !drained.has(index)), ...indexes.filter((index) => drained.has(index))];
}

/** Whether another slot of the pool gets requests now. */
export function hasOtherInTurn({ slots }: Pool, index: number): boolean {
  return slots.some(
    ({ index: other, member, turn }) =>
      other !== index && member.process.state === "ready" && outOfTurn(turn, member.process) === undefined,
  );
}

/** Whether this process is a canary of a deploy. */
export function isCanary(pool: Pool, role: Role, { generation }: Pick<Occupant, "generation">): boolean {
  return pool.canaryShare !== undefined && role === "replacement" && generation !== pool.generation;
}

/** Its clients are recognized by the cookie of its generation, because those of its slot stay with the member. */
function canaryReach({ cookie, alsoCookie, ...reach }: Reach): Reach & { canary: true } {
  return { ...reach, canary: true, ...(cookie !== undefined && alsoCookie !== undefined && { cookie: alsoCookie }) };
}

/** Gives the canaries together their share of the turns, in the smallest whole numbers. */
function weighted(
  { canaryShare = 0 }: Pool,
  upstreams: readonly PoolView["upstreams"][number][],
): PoolView["upstreams"] {
  const canaries = upstreams.filter(({ canary }) => canary).length;
  const others = upstreams.length - canaries;
  if (canaries === 0 || others === 0) return [...upstreams];
  // While both serve, the others also get some requests.
  const share = Math.round(100 * Math.min(99, canaryShare));
  const own = share * others;
  const theirs = (10_000 - share) * canaries;
  const divisor = commonDivisor(own, theirs);
  return upstreams.map((upstream) => ({ ...upstream, weight: (upstream.canary ? own : theirs) / divisor }));
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** Whether a ready process that may serve is expected soon: one is starting or will start, and has not failed often. */
function isAwaited({ slots }: Pool): boolean {
  return slots.some(({ member: { process }, turn }) => {
    if (turn?.drained === true) return false;
    const isComing = process.goal === "up" && process.state !== "stopped" && process.state !== "failed";
    return isComing && process.failures <= MAX_AWAITED_FAILURES;
  });
}
