/** Starts TLS on accepted sockets of Bun. */
import type { X509Certificate } from "node:crypto";
import { BunConnection, type BunSocket, connectedHandlers } from "../transport/bun.js";
import { type Connection, NO_OWNER } from "../transport/transport.js";
import { certificateFieldsOf } from "./client-certificate.js";
import type { Contexts } from "./contexts.js";
import type { TlsService } from "./handshake.js";

/** A TLS socket, with methods that Bun's types omit. */
type TlsSocket = Omit<Bun.Socket<BunConnection>, "getPeerX509Certificate" | "alpnProtocol"> & {
  readonly alpnProtocol: string | false | null;
  getPeerX509Certificate(): X509Certificate | undefined;
};

type OnHandshake = (socket: TlsSocket, problem: Error | null) => void;

/** Connections whose handshake is in progress. */
const handshakes = new WeakMap<BunConnection, OnHandshake>();

const handlers = {
  ...connectedHandlers,
  handshake(socket: TlsSocket, hasSucceeded: boolean, problem: Error | null): void {
    const onHandshake = handshakes.get(socket.data);
    handshakes.delete(socket.data);
    if (hasSucceeded) onHandshake?.(socket, problem);
    // A failed handshake causes no `close` event, so the socket is closed here.
    else socket.terminate();
  },
};

/** The owner of a socket that TLS has taken over: Bun continues to call its handlers. */
const BELOW_TLS = { owner: NO_OWNER, flush() {}, ended() {}, closed() {}, graceOver() {} };

export function bunTls(contexts: Contexts): TlsService["begin"] {
  return (connection: Connection, first, hello, onSecure) => {
    const chosen = contexts.choose(hello);
    if (chosen === undefined || !(connection instanceof BunConnection)) return undefined;
    const { client } = contexts;
    const tls = {
      // The native part of a context of node:tls.
      secureContext: (chosen.context as unknown as { context: unknown }).context,
      ALPNProtocols: wireForm(chosen.protocols),
      ...{ requestCert: client !== "none", rejectUnauthorized: false },
    };
    handshakes.set(connection, (socket, problem) => {
      const certificate =
        client === "none" ? [] : certificateFieldsOf(socket.getPeerX509Certificate(), problem, client);
      if (certificate === undefined) return connection.refuse();
      onSecure({ protocol: socket.alpnProtocol || "", certificate });
    });
    connection.continueOn((socket) => {
      const below = socket as unknown as { data: unknown; upgradeTLS(options: object): [unknown, BunSocket] };
      below.data = BELOW_TLS;
      const options = { data: connection, tls, socket: handlers, isServer: true, initialData: first };
      return below.upgradeTLS(options)[1];
    });
    return connection;
  };
}

/** The last list and its encoded form, because nearly all clients get the same list. */
let known: readonly string[] = [];
let knownForm = new Uint8Array(0);

/** Encodes a list of protocols for TLS (RFC 7301 §3.1). */
function wireForm(protocols: readonly string[]): Uint8Array {
  if (protocols !== known) {
    known = protocols;
    knownForm = Buffer.concat(protocols.flatMap((name) => [Buffer.from([name.length]), Buffer.from(name, "latin1")]));
  }
  return knownForm;
}
