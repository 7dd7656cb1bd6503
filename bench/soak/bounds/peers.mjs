/** Building blocks of hostile clients. */
import net from "node:net";
import tls from "node:tls";

/**
 * Keeps `count` connections open. Each writes what `write` returns as fast as possible, and reads nothing, or only detects that there is
 * data. Closed connections are opened again. Returns a function that closes them all.
 */
export function connections(port, count, write, { reads = false, afterEnd = 20, isSecure = false } = {}) {
  const sockets = new Set();
  let isOver = false;
  const open = () => {
    if (isOver) return;
    const socket = isSecure
      ? tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false })
      : net.connect(port, "127.0.0.1");
    sockets.add(socket);
    if (reads) socket.resume();
    else socket.pause();
    socket.on("error", () => {});
    socket.on("close", () => {
      sockets.delete(socket);
      setTimeout(open, afterEnd);
    });
    socket.on(isSecure ? "secureConnect" : "connect", () => write(socket));
  };
  for (let i = 0; i < count; i++) open();
  return async () => {
    isOver = true;
    for (const socket of sockets) socket.destroy();
  };
}

/** Writes `bytes` repeatedly, as fast as they are accepted. */
export function overAndOver(bytes) {
  return (socket) => {
    const pump = () => {
      while (!socket.destroyed && socket.write(bytes));
    };
    socket.on("drain", pump);
    pump();
  };
}

export const get = (target, more = "") => `GET ${target} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
export const post = (target, more = "Transfer-Encoding: chunked\r\n") =>
  `POST ${target} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;

/** The fields of a WebSocket's handshake. */
export const UPGRADE =
  "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
