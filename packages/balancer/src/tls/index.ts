/** TLS of this runtime; loaded when there are certificates. */
import { Contexts } from "./contexts.js";
import type { TlsService } from "./handshake.js";

/** What we speak above TLS, by preference. */
const PROTOCOLS = ["http/1.1"];

export interface Tls {
  contexts: Contexts;
  service: TlsService;
}

export async function tlsOf(onProblem: (message: string) => void): Promise<Tls> {
  const contexts = new Contexts(PROTOCOLS, onProblem);
  if (process.versions.bun === undefined) return { contexts, service: (await import("./node.js")).nodeTls(contexts) };
  return { contexts, service: (await import("./bun.js")).bunTls(contexts) };
}
