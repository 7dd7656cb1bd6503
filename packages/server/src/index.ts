/** The small single-process server that a Paceline instance is. */
export type { App, AppStyle, FetchHandler, NodeHandler, RequestInfo, Upgrade } from "./app.js";
export { startApp, stopApp } from "./app-lifecycle.js";
export { loadApp } from "./app-loader.js";
export { ServerError } from "./errors.js";
export { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
export { recognise } from "./recognise.js";
export type { ServerStats } from "./request-counter.js";
export { describeAddress, type RunningServer, type ServeAddress } from "./runtime/running-server.js";
export { type ServeOptions, serve } from "./serve.js";
