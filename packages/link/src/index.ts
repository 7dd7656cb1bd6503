/** What Paceline's processes say to each other, and the client with which a child says it. */
export * from "./child-environment.js";
export * from "./client-fields.js";
export * from "./errors.js";
export * from "./garbage.js";
export * from "./histogram.js";
export * from "./light-connection.js";
export * from "./line-framer.js";
export * from "./link-client.js";
export * from "./loop-lag.js";
export * from "./messages.js";
export * from "./node-outgoing.js";
export * from "./own-output.js";
export * from "./probe.js";
export * from "./reporter.js";
export * from "./slow-reader.js";
export * from "./supervisor-message.js";
export * from "./url-host.js";
