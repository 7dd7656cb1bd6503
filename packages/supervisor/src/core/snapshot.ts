/** The balancers' snapshot, made from the fleet: the upstreams of each pool in turn order. Pure. */

import { type Fleet, occupants, type Pool, processId } from "./fleet.js";
import type { RelayTraits } from "./model.js";

/** Requests do not wait for a pool with more failures in a row than this. */
const MAX_AWAITED_FAILURES = 2;

/** One pool in the snapshot; the same shape as SnapshotPool of @paceline/wire. */
export interface PoolView {
  name: string;
  routes: string[];
  stripPrefix: boolean;
  requestTimeoutMs?: number;
  internalRoots?: string[];
  sendsFiles?: boolean;
  takesAllRequests?: boolean;
  awaited?: true;
  upstreams: ({ id: string; name: string } & Reach)[];
}

/** The address of a process. */
export interface Reach {
  /** The path of its unix socket, or its TCP address instead. */
  socket?: string;
  tcp?: { host: string; port: number };
  protocol: "http1" | "lane" | "http1+control";
  maxInFlight?: number;
  /** Whether it is not a server of ours. */
  foreign?: boolean;
  /** Whether a connection to it may carry the requests of only one client. */
  perClient?: boolean;
}

/** The routes to a pool, and the path that its instances see. */
export interface PoolRoutes {
  readonly routes: readonly string[];
  readonly stripPrefix: boolean;
  /** 0 or absent: the balancer's limit applies. */
  readonly requestTimeoutMs?: number;
  readonly relayed?: RelayTraits;
}

/** The routes of each pool. Pools without an entry (the balancers' own) are left out. */
interface RoutesByPool {
  get(pool: string): PoolRoutes | undefined;
}

/** Returns the ready processes of each pool in slot order, a member before its replacement. */
export function poolViews(fleet: Fleet, routes: RoutesByPool, reach: (processId: string) => Reach): PoolView[] {
  return fleet.pools.flatMap((pool) => {
    const served = routes.get(pool.name);
    if (served === undefined) return [];
    const upstreams = pool.slots.flatMap((slot) =>
      occupants(slot)
        .filter(({ occupant }) => occupant.process.state === "ready")
        .map(({ occupant }) => {
          const id = processId(slot.name, occupant.process.attempt);
          return { id, name: slot.name, ...reach(id) };
        }),
    );
    const { stripPrefix, requestTimeoutMs = 0, relayed } = served;
    const timeout = requestTimeoutMs > 0 ? { requestTimeoutMs } : {};
    const awaited = upstreams.length === 0 && isAwaited(pool) ? { awaited: true as const } : {};
    return [
      { name: pool.name, routes: [...served.routes], stripPrefix, ...timeout, ...relayed, ...awaited, upstreams },
    ];
  });
}

/** Whether a ready process is expected soon: one is starting or will start, and has not failed often. */
function isAwaited({ slots }: Pool): boolean {
  return slots.some(({ member: { process } }) => {
    const isComing = process.goal === "up" && process.state !== "stopped" && process.state !== "failed";
    return isComing && process.failures <= MAX_AWAITED_FAILURES;
  });
}
