/** The connections of node:http that an app has taken over with an upgrade: in flight until they are closed. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { NodeUpgradeHandler } from "../shared/app.js";

export class Tunnels {
  private readonly sockets = new Set<Duplex>();

  get size(): number {
    return this.sockets.size;
  }

  /** Hands a connection to the app; one whose handler fails is cut. */
  take(
    handler: NodeUpgradeHandler,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    onError: (error: unknown) => void,
  ): void {
    this.sockets.add(socket);
    socket.once("close", () => this.sockets.delete(socket));
    // A reset is no fault of the app's, and must not end the process where the app does not listen for it.
    socket.on("error", () => {});
    const failed = (error: unknown) => {
      onError(error);
      socket.destroy();
    };
    try {
      const result = handler(request, socket, head);
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  destroy(): void {
    for (const socket of this.sockets) socket.destroy();
  }
}
