/** Begins TLS on accepted sockets of Bun. */

import { BunConnection } from "../transport/bun.js";
import type { Connection } from "../transport/transport.js";
import { certificateFieldsOf } from "./client-certificate.js";
import type { Contexts } from "./contexts.js";
import type { TlsService } from "./handshake.js";

export function bunTls(contexts: Contexts): TlsService["begin"] {
  return (connection: Connection, first, hello, onSecure) => {
    const chosen = contexts.choose(hello);
    if (chosen === undefined || !(connection instanceof BunConnection)) return undefined;
    const { client } = contexts;
    const tls = {
      secureContext: (chosen.context as unknown as { context: unknown }).context,
      ALPNProtocols: wireForm(chosen.protocols),
      ...{ requestCert: client !== "none", rejectUnauthorized: false },
    };
    connection.startTls(tls, first, (socket, problem) => {
      const certificate =
        client === "none" ? [] : certificateFieldsOf(socket.getPeerX509Certificate(), problem, client);
      if (certificate === undefined) return connection.refuse();
      onSecure({ protocol: socket.alpnProtocol || "", certificate });
    });
    return connection;
  };
}

/** Returns a list of protocols as TLS has it (RFC 7301 §3.1). */
function wireForm(protocols: readonly string[]): Uint8Array {
  return Buffer.concat(protocols.flatMap((name) => [Buffer.from([name.length]), Buffer.from(name, "latin1")]));
}
