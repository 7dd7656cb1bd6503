/** Takes the stream sockets of the runtime that this process runs on. */
import type { SocketAddress } from "../control/protocol.js";
import type { OnSocket, StreamListener, StreamSocket, StreamSocketOwner } from "./stream-socket.js";
import { connectOnBun, listenOnBun } from "./stream-socket-bun.js";
import { connectOnNode, listenOnNode } from "./stream-socket-node.js";

/** Begins to connect; the owner is told later, never from within this call. */
export function connectLocally(address: SocketAddress, owner: StreamSocketOwner): StreamSocket {
  return process.versions.bun === undefined ? connectOnNode(address, owner) : connectOnBun(address, owner);
}

/** Listens on a unix socket with mode 0600. @throws what the runtime has to say when it cannot */
export async function listenLocally(path: string, onSocket: OnSocket): Promise<StreamListener> {
  return process.versions.bun === undefined ? await listenOnNode(path, onSocket) : listenOnBun(path, onSocket);
}
