/** TLS of this runtime; loaded when there are certificates. */
import { Contexts } from "./contexts.js";
import type { TlsService } from "./handshake.js";

export interface Tls {
  contexts: Contexts;
  service: TlsService;
}

export async function tlsOf(onProblem: (message: string) => void): Promise<Tls> {
  const contexts = new Contexts(onProblem);
  if (process.versions.bun === undefined) return { contexts, service: (await import("./node.js")).nodeTls(contexts) };
  return { contexts, service: (await import("./bun.js")).bunTls(contexts) };
}
