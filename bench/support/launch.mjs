/** Starts the processes of a contestant, waits until it serves, and stops them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { tree } from "./processes.mjs";

const READY_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 20_000;
/** The wait after the first response, in milliseconds: all processes are then up and idle. */
export const SETTLE_MS = 6500;
/** The number of requests before a measurement, to warm up just-in-time compilers and caches. */
export const WARM_UP_REQUESTS = 2000;

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Processes that `run` started and that have not ended. */
const alive = new Set();

export function run(command, args, directory, environment = {}) {
  const child = spawn(command, args, {
    cwd: directory,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, ...environment },
  });
  alive.add(child);
  child.on("exit", () => alive.delete(child));
  child.on("error", (error) => {
    alive.delete(child);
    process.stderr.write(`${command}: ${error.message}\n`);
  });
  return child;
}

/** Returns a contestant of these processes; the first one started is stopped last. */
export function ofChildren(port, children) {
  return {
    port,
    pids: () => children.flatMap((child) => tree(child.pid)),
    stop: () => end(children),
  };
}

/** Kills the processes that a failed start has left. */
export const endLeftovers = () => end([...alive]);

async function end(children) {
  for (const child of [...children].reverse()) child.kill("SIGTERM");
  await Promise.all(children.map(ended));
}

async function ended(child) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await once(child, "exit");
  clearTimeout(timer);
}

/** Waits until the port, or the socket's path, responds with 200. */
export async function untilServing(address) {
  const where = typeof address === "number" ? { port: address, host: "127.0.0.1" } : { socketPath: address };
  for (const deadline = Date.now() + READY_TIMEOUT_MS; ; await wait(50)) {
    const isUp = await new Promise((resolve) => {
      const request = http.get({ ...where, agent: false, timeout: 5000 }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode === 200));
        response.on("error", () => resolve(false));
      });
      request.on("timeout", () => request.destroy());
      request.on("error", () => resolve(false));
    });
    if (isUp) return;
    if (Date.now() > deadline) throw new Error(`nothing answers on ${address}`);
  }
}

/** Returns whether a connection serves a second request; otherwise there are no figures for kept connections. */
export async function keepsConnections(port) {
  const socket = net.connect({ port, host: "127.0.0.1" });
  socket.on("error", () => socket.destroy());
  socket.setTimeout(5000, () => socket.destroy());
  const request = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
  let received = "";
  let asked = 1;
  socket.setEncoding("latin1");
  socket.on("data", (text) => {
    received += text;
    const answered = received.split("Hello World!").length - 1;
    if (answered >= 2) socket.end();
    else if (answered === asked && asked === 1) {
      asked = 2;
      socket.write(request);
    }
  });
  socket.write(request);
  // A reset counts as a close.
  await new Promise((resolve) => socket.once("close", resolve));
  return received.split("Hello World!").length > 2;
}
