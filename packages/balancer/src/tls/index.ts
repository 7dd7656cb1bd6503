/** The TLS service of this runtime; loaded once there are certificates. */
import { Contexts } from "./contexts.js";
import type { TlsService } from "./handshake.js";
import { WantedNames } from "./handshake.js";

export interface Tls {
  contexts: Contexts;
  service: TlsService;
  wanted: WantedNames;
}

/** @param want asks the supervisor for a certificate */
export async function tlsOf(onProblem: (message: string) => void, want: (name: string) => void): Promise<Tls> {
  const contexts = new Contexts(onProblem);
  const begin =
    process.versions.bun === undefined
      ? (await import("./node.js")).nodeTls(contexts)
      : (await import("./bun.js")).bunTls(contexts);
  const wanted = new WantedNames(want);
  return { contexts, wanted, service: { begin, onDemand: { lacks: (hello) => contexts.lacks(hello), wanted } } };
}
