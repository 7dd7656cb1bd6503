/** The small single-process server that a Paceline instance is. */
export type { App, AppStyle, FetchHandler, NodeHandler, RequestInfo, Upgrade } from "./app.js";
export { startApp, stopApp } from "./app-lifecycle.js";
export { loadApp } from "./app-loader.js";
export { type DeferOptions, defer } from "./defer.js";
export { drainSignal } from "./draining.js";
export { ServerError } from "./errors.js";
export { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
export { recognise } from "./recognise.js";
export type { ServerStats } from "./request-counter.js";
export { describeAddress, type RunningServer, type ServeAddress } from "./runtime/running-server.js";
export type { ServeOptions } from "./serve.js";
export { serve } from "./serve-lazily.js";
export type { NodeMiddleware } from "./static/handlers.js";
export type { Encoding, StaticOptions } from "./static/options.js";
export { type StaticHandler, serveStatic } from "./static/serve-static.js";
export { after, every, type Timer } from "./timers.js";
