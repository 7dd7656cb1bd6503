/** Starts TLS on accepted sockets of node:net. */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { SocketAcknowledgements } from "@paceline/wire";
import { NodeConnection } from "../transport/node.js";
import type { Connection } from "../transport/transport.js";
import { certificateFieldsOf } from "./client-certificate.js";
import type { Contexts } from "./contexts.js";
import type { TlsService } from "./handshake.js";
import { type Below, TlsConnection } from "./tls-connection.js";

const NOTHING = new Uint8Array(0);

/** Internals of node:tls that its types omit. */
interface Handle {
  /** Returns the reason why the peer's certificate is not valid; null if it is valid. */
  verifyError?(): Error | null;
}

/** A class, because closures of `begin` would keep everything that the handshake needed. */
class BelowTls implements Below {
  readonly acknowledgements: SocketAcknowledgements;

  constructor(
    private readonly raw: Socket,
    private readonly secured: TLSSocket,
  ) {
    this.acknowledgements = new SocketAcknowledgements(raw);
  }

  reset(): void {
    const { raw, secured } = this;
    if (raw.destroyed) secured.destroy();
    else if (raw.remoteAddress === undefined) raw.destroy();
    else raw.resetAndDestroy();
  }

  get hasPeerEnded(): boolean {
    return this.acknowledgements.hasPeerEnded;
  }

  /** On the socket below TLS, which ignores the failure of an empty write. */
  lookIfReset(): void {
    this.raw.write(NOTHING);
  }
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
    // OpenSSL 3 refuses renegotiation anyway; this also refuses it with other versions.
    socket.disableRenegotiation();
    const secured = new TlsConnection(socket, new BelowTls(raw, socket), remoteAddress, ends);
    // On both runtimes, this event reports that a handshake is complete. The types omit it.
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
