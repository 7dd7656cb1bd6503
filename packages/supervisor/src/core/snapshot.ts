/** What the balancers are to follow, made from the fleet: the upstreams of each pool in the order of their turns. Pure. */

import { type Fleet, occupants, type Pool, processId } from "./fleet.js";
import type { RelayTraits } from "./model.js";

/** With more failures in a row than these a pool is not waited for: its requests would pile up for nothing. */
const MAX_AWAITED_FAILURES = 2;

/** One pool as a balancer sees it; the same shape as SnapshotPool of @paceline/wire. */
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

/** How a process is reached. */
export interface Reach {
  /** The path of its unix socket, or the TCP address that it has in the place of one. */
  socket?: string;
  tcp?: { host: string; port: number };
  protocol: "http1" | "lane" | "http1+control";
  maxInFlight?: number;
  /** It is no server of ours. */
  foreign?: boolean;
  /** Each of its connections may carry the requests of one client alone. */
  perClient?: boolean;
}

/** What leads to a pool, and what its instances see of the path. */
export interface PoolRoutes {
  readonly routes: readonly string[];
  readonly stripPrefix: boolean;
  /** 0 or none: as long as the balancer's limit says. */
  readonly requestTimeoutMs?: number;
  readonly relayed?: RelayTraits;
}

/** Where a pool is reached; pools without an entry (the balancers' own) are left out. */
export interface RoutesByPool {
  get(pool: string): PoolRoutes | undefined;
}

/** Exactly the processes that are ready, in slot order, a member before its replacement. */
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

/** Whether a process that is ready is expected soon: one is coming up, or will, and has not failed often. */
function isAwaited({ slots }: Pool): boolean {
  return slots.some(({ member: { process } }) => {
    const isComing = process.goal === "up" && process.state !== "stopped" && process.state !== "failed";
    return isComing && process.failures <= MAX_AWAITED_FAILURES;
  });
}
