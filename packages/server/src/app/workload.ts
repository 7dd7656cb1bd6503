/** What a server can run: each kind of it by the key that names it. */
import type { ChildSpec } from "@paceline/wire";
import type { App } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import type { LoadHooks } from "./adopted-server.js";
import { loadApp } from "./load.js";

/** Exactly one of them is given. */
export type Workload = Pick<ChildSpec, "app" | "cache" | "args" | "style" | "static" | "proxy">;

/**
 * The app in `runs`.
 *
 * @param isLane whether a fetch app is going to be served over lanes.
 * @param isBehindBalancer whether the balancer is the only client.
 * @param hooks see LoadHooks
 * @throws ServerError `usage` when there is nothing to run; else as the kind's own loader
 */
export async function loadWorkload(
  workload: Workload,
  isLane: boolean,
  isBehindBalancer: boolean,
  hooks?: LoadHooks,
): Promise<App> {
  if (workload.static !== undefined)
    return (await import("../kinds/static/handlers.js")).staticApp(workload.static, isLane);
  if (workload.proxy !== undefined)
    return (await import("../kinds/proxy/proxy-app.js")).proxyApp(workload.proxy, isBehindBalancer);
  if (workload.app !== undefined) {
    // As if it had been started by itself, on either runtime.
    process.argv.splice(1, process.argv.length, workload.app, ...(workload.args ?? []));
    return loadApp(workload.app, workload.style, workload.cache, hooks);
  }
  throw new ServerError("usage", "there is nothing to run");
}
