/** The small single-process server that a Paceline instance is. */
export type { App, FetchHandler, NodeHandler, RequestInfo, Upgrade } from "./app.js";
export { appFrom } from "./app.js";
export { loadApp } from "./app-loader.js";
export { ServerError } from "./errors.js";
export { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
export type { ServerStats } from "./request-counter.js";
export { describeAddress, type RunningServer, type ServeAddress } from "./runtime/running-server.js";
export { type ServeOptions, serve } from "./serve.js";
export type { NodeMiddleware } from "./static/handlers.js";
export type { Encoding, StaticOptions } from "./static/options.js";
export { type StaticHandler, serveStatic } from "./static/serve-static.js";
