/** Limits the connections of an HTTP server so that idle ones keep nobody out: an old one gives way to a further one. */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";

/**
 * Closes the oldest connection when there are more than `max`.
 * @param isKept whether one that has sent this request stays; if all stay, the new connection is closed
 */
export function limitConnections(server: Server, max: number, isKept: (request: IncomingMessage) => boolean): void {
  const open = new Set<Socket>();
  const kept = new WeakSet<Socket>();
  server.on("request", (request: IncomingMessage) => {
    if (!kept.has(request.socket) && isKept(request)) kept.add(request.socket);
  });
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
