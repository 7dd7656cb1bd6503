/** Chooses the stream sockets of this process's runtime. */
import type { SocketAddress } from "../control/protocol.js";
import type { OnSocket, StreamListener, StreamSocket, StreamSocketOwner } from "./stream-socket.js";
import { connectOnBun, listenOnBun } from "./stream-socket-bun.js";
import { connectOnNode, listenOnNode } from "./stream-socket-node.js";

/** Starts connecting; the owner is notified later, never from within this call. */
export function connectLocally(address: SocketAddress, owner: StreamSocketOwner): StreamSocket {
  return process.versions.bun === undefined ? connectOnNode(address, owner) : connectOnBun(address, owner);
}

/** Listens on a unix socket with mode 0600. @throws the runtime's error if that fails */
export async function listenLocally(path: string, onSocket: OnSocket): Promise<StreamListener> {
  return process.versions.bun === undefined ? await listenOnNode(path, onSocket) : listenOnBun(path, onSocket);
}
