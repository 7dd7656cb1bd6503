/** Finds free TCP ports for tests that run at the same time, in whatever process. */
import dgram from "node:dgram";
import net from "node:net";

/** Below those that the kernel gives to connections. */
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

/** Takes the UDP port of the same number, which no test needs, for as long as this process lives: nobody else gets it meanwhile. */
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

/** A port of 127.0.0.1 that nobody listens on now, and that no other test is given. */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < PORTS; tried++) {
    const port = FIRST_PORT + (next++ % PORTS);
    if ((await reserve(port)) && (await isFree(port))) return port;
  }
  throw new Error(`no free port from ${FIRST_PORT} on`);
}

/** Whether somebody accepts connections on a port of 127.0.0.1. */
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
