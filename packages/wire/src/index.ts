/** What Paceline's processes say to each other, and the client with which a child says it. */

export * from "./control/channel-client.js";
export * from "./control/child-environment.js";
export * from "./control/child-message.js";
export * from "./control/histogram.js";
export * from "./control/line-framer.js";
export * from "./control/messages.js";
export * from "./control/reporter.js";
export * from "./control/supervisor-message.js";
export * from "./errors.js";
export * from "./http/client-fields.js";
export * from "./http/hop-fields.js";
export * from "./http/methods.js";
export * from "./http/url-host.js";
export * from "./limits.js";
export * from "./net/local-socket.js";
export * from "./net/node-outgoing.js";
export * from "./net/probe.js";
export * from "./net/slow-reader.js";
export * from "./net/stream-socket.js";
export * from "./net/tcp-table.js";
export * from "./proc/garbage.js";
export * from "./proc/loop-lag.js";
export * from "./proc/own-output.js";
export * from "./proc/own-resources.js";
