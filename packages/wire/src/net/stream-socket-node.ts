/** Stream sockets on node:net. */
import type { Socket } from "node:net";
import type { SocketAddress } from "../control/protocol.js";
import {
  type OnSocket,
  type StreamListener,
  type StreamSocket,
  type StreamSocketOwner,
  withPrivateUmask,
} from "./stream-socket.js";

/** Not imported, because Bun would load it with this module. */
const net = () => process.getBuiltinModule("node:net");

class NodeStreamSocket implements StreamSocket {
  isBlocked = false;
  owner: StreamSocketOwner | undefined;

  constructor(private readonly socket: Socket) {
    socket.on("connect", () => this.owner?.onOpen?.());
    socket.on("data", (bytes: Buffer) => this.owner?.onData(bytes));
    // A `close` follows every error and has all the information.
    socket.on("error", () => {});
    socket.on("close", () => {
      const { owner } = this;
      this.owner = undefined;
      owner?.onClose();
    });
  }

  get waitingBytes(): number {
    return this.socket.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    this.socket.write(bytes, this.onWritten);
    // The queue is already empty if the kernel took everything within the call.
    this.isBlocked = this.socket.writableLength > 0;
    return !this.isBlocked;
  }

  private readonly onWritten = (): void => {
    if (!this.isBlocked || this.socket.writableLength > 0) return;
    this.isBlocked = false;
    this.owner?.onDrain();
  };

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  keepAlive(isKept: boolean): void {
    if (isKept) this.socket.ref();
    else this.socket.unref();
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.owner = undefined;
    this.socket.destroy();
  }
}

export function connectOnNode(address: SocketAddress, owner: StreamSocketOwner): StreamSocket {
  const socket = new NodeStreamSocket(net().connect(typeof address === "string" ? { path: address } : address));
  socket.owner = owner;
  return socket;
}

export function listenOnNode(path: string, onSocket: OnSocket): Promise<StreamListener> {
  return new Promise((resolve, reject) => {
    const server = net().createServer((socket) => {
      const accepted = new NodeStreamSocket(socket);
      accepted.owner = onSocket(accepted);
    });
    server.once("error", reject);
    withPrivateUmask(() => server.listen({ path }, () => resolve({ close: () => void server.close() })));
  });
}
