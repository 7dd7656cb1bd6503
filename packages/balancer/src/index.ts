/** Exports the parts of the balancer process as a library. */
import type { Transport } from "./transport/transport.js";

export { Balancer, type BalancerOptions } from "./balancer.js";
export type { Connection, ConnectionOwner, Transport } from "./transport/transport.js";

export async function chooseTransport(): Promise<Transport> {
  if (process.versions.bun !== undefined) return (await import("./transport/bun.js")).bunTransport();
  return (await import("./transport/node.js")).nodeTransport();
}
