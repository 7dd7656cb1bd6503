/** Finds free TCP ports for concurrent tests in any process. */
import dgram from "node:dgram";
import net from "node:net";

/** Below the kernel's ephemeral ports. */
const FIRST_PORT = 24_000;
const PORTS = 8_000;

let next = Math.floor(Math.random() * PORTS);

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.on("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port }, () => server.close(() => resolve(true)));
  });
}

/** Binds the UDP port with the same number, which no test needs, until this process exits, so that nobody else gets it. */
function reserve(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket({ type: "udp4", reuseAddr: false });
    socket.unref();
    socket.once("error", () => {
      socket.close();
      resolve(false);
    });
    socket.bind({ address: "127.0.0.1", port, exclusive: true }, () => resolve(true));
  });
}

/** Returns a free port of 127.0.0.1 that no other test gets. */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < PORTS; tried++) {
    const port = FIRST_PORT + (next++ % PORTS);
    if ((await reserve(port)) && (await isFree(port))) return port;
  }
  throw new Error(`no free port from ${FIRST_PORT} on`);
}

/** Returns whether a port of 127.0.0.1 accepts connections. */
export function isListening(port: number, host = "127.0.0.1"): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
