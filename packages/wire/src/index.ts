/** Exports the messages between Paceline's processes, and the children's client of the control channel. */

export * from "./control/certificates.js";
export * from "./control/channel-client.js";
export { ChannelError } from "./control/checks.js";
export * from "./control/child-environment.js";
export * from "./control/child-message.js";
export * from "./control/histogram.js";
export * from "./control/protocol.js";
export * from "./control/recorded.js";
export * from "./control/reporter.js";
export * from "./control/route-classes.js";
export * from "./control/snapshot.js";
export * from "./control/stats.js";
export * from "./control/supervisor-message.js";
export * from "./http/forwarding.js";
export * from "./http/trailers.js";
export * from "./limits.js";
export * from "./net/acknowledgements.js";
export * from "./net/local-socket.js";
export * from "./net/slow-reader.js";
export * from "./net/stream-socket.js";
export * from "./net/tcp-table.js";
export * from "./proc/bun-memory.js";
export * from "./proc/own-process.js";
export * from "./proc/regular-file.js";
export * from "./running-time.js";
