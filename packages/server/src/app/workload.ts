/** The kinds of work a server can run, each with its key. */
import type { ChildSpec } from "@paceline/wire";
import type { App } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import type { LoadHooks } from "./adopted-server.js";
import { loadApp } from "./load.js";

/** Exactly one of them is set. */
export type Workload = Pick<ChildSpec, "app" | "cache" | "args" | "style" | "static" | "proxy">;

/**
 * Loads the app of a workload.
 * @param isLane whether a fetch app will be served over lanes
 * @param isBehindBalancer whether the balancer is the only client
 * @param hooks see LoadHooks
 * @throws ServerError `usage` for an empty workload; otherwise the errors of the kind's loader
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
    // The arguments that the app would have if it had been started by itself, on either runtime.
    process.argv.splice(1, process.argv.length, workload.app, ...(workload.args ?? []));
    if (process.versions.bun !== undefined) (Bun as { main: string }).main = workload.app;
    return loadApp(workload.app, workload.style, workload.cache, hooks);
  }
  throw new ServerError("usage", "there is nothing to run");
}

/**
 * Returns what an app's start waits for, with the addresses that it is connecting to.
 * @param awaited see LoadHooks.onWait
 */
export async function waitText(awaited: string): Promise<string> {
  const { connectingOf } = await import("@paceline/wire/proc");
  const places = connectingOf(process.pid);
  return places.length === 0 ? awaited : `${awaited}; it is connecting to ${places.join(", ")}`;
}
