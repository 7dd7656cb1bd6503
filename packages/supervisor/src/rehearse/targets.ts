/** Which requests a rehearsal sends: requests for the routes of the pools, and for the paths that their configuration names. Pure. */
import type { PoolConfig } from "../core/model.js";
import type { Ask } from "./exchange.js";

/** A request, and the pool that gets it. */
export interface Target {
  pool: string;
  ask: Ask;
}

const MAX_TARGETS = 200;

/** Whether a pool gets requests by default. It does not if its requests would leave this machine. */
function isDriven({ kind, serves, relayed }: PoolConfig): boolean {
  return serves && kind !== "proxy" && relayed.internalRoots === undefined;
}

/** @param paths named by the user in place of those in the configuration */
export function targetsOf(pools: readonly PoolConfig[], paths: readonly string[]): Target[] {
  if (paths.length > 0) {
    return paths.slice(0, MAX_TARGETS).flatMap((path) => {
      const pool = poolFor(pools, path);
      return pool === undefined ? [] : [{ pool: pool.name, ask: ask(pool, path, "") }];
    });
  }
  const found = new Map<string, Target>();
  for (const pool of pools.filter(isDriven)) {
    const { health, warmup, name } = pool;
    for (const route of pool.routes) {
      const host = route.slice(0, route.indexOf("/"));
      const prefix = route.slice(host.length);
      const inside = [health.readyPath, health.healthPath, ...(warmup?.paths ?? [])].flatMap((path) => {
        if (path === undefined) return [];
        if (pool.stripPrefix) return [prefix.replace(/\/$/, "") + path];
        return path.startsWith(prefix) ? [path] : [];
      });
      for (const path of [prefix, ...inside]) {
        const key = `${host}${path}`;
        // A longer route leads to another pool.
        if (host === "" && poolFor(pools, path)?.name !== name) continue;
        if (!found.has(key) && found.size < MAX_TARGETS) found.set(key, { pool: name, ask: ask(pool, path, host) });
      }
    }
  }
  return [...found.values()];
}

function ask({ health }: PoolConfig, path: string, host: string): Ask {
  return { method: "GET", path, host: host === "" ? health.checkHost : host.replace("*", "rehearsal") };
}

/** Returns the pool with the longest route that matches this path and has no host. */
function poolFor(pools: readonly PoolConfig[], target: string): PoolConfig | undefined {
  const path = target.split("?", 1)[0] as string;
  let best: { length: number; pool: PoolConfig } | undefined;
  for (const pool of pools) {
    if (pool.relayed.internalRoots !== undefined) continue;
    for (const route of pool.routes) {
      const folder = route.endsWith("/") ? route : `${route}/`;
      if (`${path}/`.startsWith(folder) && route.length > (best?.length ?? 0)) best = { length: route.length, pool };
    }
  }
  return best?.pool;
}
