/** Begins TLS on accepted sockets of node:net. */
import { TLSSocket } from "node:tls";
import { SocketAcknowledgements } from "@paceline/wire";
import { NodeConnection } from "../transport/node.js";
import type { Connection } from "../transport/transport.js";
import { certificateFieldsOf } from "./client-certificate.js";
import type { Contexts } from "./contexts.js";
import type { TlsService } from "./handshake.js";
import { TlsConnection } from "./tls-connection.js";

const NOTHING = new Uint8Array(0);

/** Internals of node:tls that its types omit. */
interface Handle {
  /** Why the certificate of the peer is not valid; null if it is. */
  verifyError?(): Error | null;
}

export function nodeTls(contexts: Contexts): TlsService["begin"] {
  return (connection: Connection, first, hello, onSecure) => {
    const chosen = contexts.choose(hello);
    if (chosen === undefined || !(connection instanceof NodeConnection)) return undefined;
    const { remoteAddress, ends } = connection;
    const raw = connection.release();
    raw.unshift(first);
    const { client } = contexts;
    const socket = new TLSSocket(raw, {
      ...{ isServer: true, secureContext: chosen.context, ALPNProtocols: chosen.protocols },
      ...{ requestCert: client !== "none", rejectUnauthorized: client === "required" },
    });
    // OpenSSL 3 refuses renegotiation; this also refuses it with another one.
    socket.disableRenegotiation();
    const acknowledgements = new SocketAcknowledgements(raw);
    const secured = new TlsConnection(
      socket,
      {
        acknowledgements,
        reset: () =>
          raw.destroyed ? socket.destroy() : raw.remoteAddress === undefined ? raw.destroy() : raw.resetAndDestroy(),
        get hasPeerEnded() {
          return acknowledgements.hasPeerEnded;
        },
        // Below TLS, which ignores that an empty write fails.
        lookIfReset: () => void raw.write(NOTHING),
      },
      remoteAddress,
      ends,
    );
    // The event of both runtimes for a handshake that is over, which the types omit.
    socket.once("secure" as "secureConnect", () => {
      const problem = (socket as unknown as { _handle: Handle | null })._handle?.verifyError?.();
      const certificate =
        client === "none" ? [] : certificateFieldsOf(socket.getPeerX509Certificate(), problem, client);
      if (certificate === undefined) return secured.refuse();
      onSecure({ protocol: socket.alpnProtocol || "", certificate });
    });
    return secured;
  };
}
