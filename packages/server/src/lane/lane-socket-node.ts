/** Lane sockets on node:net. */
import { createServer, type Socket } from "node:net";
import { withPrivateUmask } from "../process/unix-socket.js";
import type { LaneListener, LaneSocket, LaneSocketOwner, OnLane } from "./lane-socket.js";

class NodeLaneSocket implements LaneSocket {
  owner: LaneSocketOwner | undefined;
  isBlocked = false;

  constructor(private readonly socket: Socket) {
    socket.on("data", (bytes: Buffer) => this.owner?.onData(bytes));
    // `close` follows every error, and says all there is to know.
    socket.on("error", () => {});
    socket.on("close", () => {
      this.owner?.onClose();
      this.owner = undefined;
    });
  }

  write(bytes: Uint8Array): boolean {
    this.socket.write(bytes, this.onWritten);
    // Zero at once when the kernel has taken everything within the call.
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

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

export function listenOnNode(path: string, onLane: OnLane): Promise<LaneListener> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      const lane = new NodeLaneSocket(socket);
      lane.owner = onLane(lane);
    });
    server.once("error", reject);
    withPrivateUmask(() => server.listen({ path }, () => resolve({ close: () => void server.close() })));
  });
}
