/** Paceline's data plane as a library: what the balancer process is made of. */
export { Balancer, type BalancerOptions } from "./balancer.js";
export { chooseTransport } from "./transport/choose.js";
export type { Connection, ConnectionOwner, Transport } from "./transport/transport.js";
