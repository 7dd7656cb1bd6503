/** The public API of a Paceline server: imported by apps and programs. */
import type { RunningServer } from "./http1/running-server.js";
import type { ServeOptions } from "./process/serve.js";
import type { App } from "./shared/app.js";

export { type DeferOptions, defer } from "./api/defer.js";
export { after, every, type Timer } from "./api/timers.js";
export { detectApp } from "./app/detect-app.js";
export { startApp, stopApp } from "./app/lifecycle.js";
export { loadApp } from "./app/load.js";
export { describeAddress, type RunningServer, type ServeAddress } from "./http1/running-server.js";
export type { NodeMiddleware } from "./kinds/static/handlers.js";
export type { Encoding, StaticOptions } from "./kinds/static/options.js";
export { type StaticHandler, serveStatic } from "./kinds/static/serve-static.js";
export type { ServerStats } from "./process/request-counter.js";
export type { ServeOptions } from "./process/serve.js";
export type { App, AppStyle, FetchHandler, NodeHandler, RequestInfo, Upgrade } from "./shared/app.js";
export { drainSignal } from "./shared/bridge.js";
export { ServerError } from "./shared/errors.js";
export { DEFAULT_LIMITS, type ServerLimits } from "./shared/limits.js";

/**
 * Listens and serves.
 *
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export async function serve(app: App, options: ServeOptions): Promise<RunningServer> {
  // Loaded lazily: an app that only sets a timer does not need it.
  return (await import("./process/serve.js")).serve(app, options);
}
