/** Takes the transport of the runtime this process runs on. */
import type { Transport } from "./transport.js";

export async function chooseTransport(): Promise<Transport> {
  if (process.versions.bun !== undefined) return (await import("./bun.js")).bunTransport();
  return (await import("./node.js")).nodeTransport();
}
