/** Finds free TCP ports for tests that run at the same time. */
import net from "node:net";

const FIRST_PORT = 24_000;
const PORTS_PER_WORKER = 100;
const WORKERS = 10;

const worker = Number(process.env.VITEST_POOL_ID ?? 0) % WORKERS;
// A random start keeps two test runs on one machine, and sockets of the last run, apart.
let next = Math.floor(Math.random() * PORTS_PER_WORKER);

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.on("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port }, () => server.close(() => resolve(true)));
  });
}

/** A port of 127.0.0.1 that nobody listens on now; each test worker takes them from a range of its own. */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < PORTS_PER_WORKER; tried++) {
    const port = FIRST_PORT + worker * PORTS_PER_WORKER + (next++ % PORTS_PER_WORKER);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port from ${FIRST_PORT + worker * PORTS_PER_WORKER} on`);
}

/** Whether somebody accepts connections on a port of 127.0.0.1. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
