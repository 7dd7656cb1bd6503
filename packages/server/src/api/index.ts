/** The small single-process server that a Paceline instance is. */
export type { App, AppStyle, FetchHandler, NodeHandler, RequestInfo, Upgrade } from "../app/app.js";
export { recognise } from "../app/detect-app.js";
export { startApp, stopApp } from "../app/lifecycle.js";
export { loadApp } from "../app/load.js";
export { describeAddress, type RunningServer, type ServeAddress } from "../http1/running-server.js";
export type { NodeMiddleware } from "../kinds/static/handlers.js";
export type { Encoding, StaticOptions } from "../kinds/static/options.js";
export { type StaticHandler, serveStatic } from "../kinds/static/serve-static.js";
export { DEFAULT_LIMITS, type ServerLimits } from "../process/limits.js";
export type { ServerStats } from "../process/request-counter.js";
export type { ServeOptions } from "../process/serve.js";
export { type DeferOptions, defer } from "./defer.js";
export { drainSignal } from "./draining.js";
export { ServerError } from "./errors.js";
export { serve } from "./serve-lazily.js";
export { after, every, type Timer } from "./timers.js";
