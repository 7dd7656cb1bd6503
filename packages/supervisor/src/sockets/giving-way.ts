/** Limits the connections of an HTTP server so that idle ones keep nobody out: an old one gives way to a further one. */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";

/**
 * Closes the oldest connection when there are more than `max`.
 * @param keepsRequests whether one that has sent a request stays; if all have, the new connection is closed
 */
export function limitConnections(server: Server, max: number, keepsRequests: boolean): void {
  const open = new Set<Socket>();
  const kept = new WeakSet<Socket>();
  if (keepsRequests) server.on("request", ({ socket }: IncomingMessage) => kept.add(socket));
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    if (open.size <= max) return;
    for (const oldest of open) {
      if (kept.has(oldest)) continue;
      open.delete(oldest);
      oldest.destroy();
      return;
    }
  });
}
