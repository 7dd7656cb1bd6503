/** Starts a fleet for a soak and measures its balancer. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const execute = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const PACELINE = path.join(ROOT, "packages/supervisor/bin/paceline");

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Processes that this program has started and not stopped yet. */
const running = new Set();
let isWatched = false;

/** Kills a process when this program exits, except by SIGKILL. */
export function endsWithProgram(child) {
  if (!isWatched) {
    isWatched = true;
    process.once("exit", () => {
      for (const { pid } of running) process.kill(pid, "SIGTERM");
    });
    for (const [signal, number] of Object.entries({ SIGINT: 2, SIGTERM: 15, SIGHUP: 1 }))
      process.once(signal, () => process.exit(128 + number));
  }
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Starts a fleet of the soaks' app; `config` overrides the defaults, and `alsoListen` has further addresses. */
export async function startFleet(instances, { alsoListen = [], ...config } = {}) {
  const directory = mkdtempSync(path.join(tmpdir(), "paceline-soak-"));
  const port = await freePort();
  const file = path.join(directory, "paceline.config.json");
  const app = path.join(ROOT, "bench/soak/app.ts");
  // Undefined keys of `config` are left out.
  writeFileSync(file, JSON.stringify({ app, instances, listen: [`127.0.0.1:${port}`, ...alsoListen], ...config }));
  const options = {
    stdio: ["ignore", "ignore", "inherit"],
    cwd: directory,
    env: { ...process.env, ...(config.runtime === undefined ? {} : { PACELINE_RUNTIME: config.runtime }) },
  };
  const args = [PACELINE, "start", file, "--run-dir", path.join(directory, ".paceline")];
  const child = endsWithProgram(spawn("sh", args, options));
  const status = async () =>
    JSON.parse(
      (await execute("sh", [PACELINE, "status", "--json", "--run-dir", path.join(directory, ".paceline")])).stdout,
    );
  const socket = path.join(directory, ".paceline/control.sock");
  const control = () => controlStatus(socket);
  for (const deadline = Date.now() + 60_000; ; await wait(20)) {
    const isReady = await control().then(
      ({ state }) => state === "running",
      () => false,
    );
    if (isReady) break;
    if (Date.now() > deadline) throw new Error("the fleet did not get ready");
  }
  const balancerPid = (await control()).balancers[0]?.pid;
  return {
    port,
    status,
    /** For a command on this fleet. */
    runDirArgs: ["--run-dir", path.join(directory, ".paceline")],
    /** Gets the status without a separate process. */
    control,
    /** The events, as JSON lines. */
    events: () => askControl(socket, "/v1/events?lines=1000"),
    balancerPid,
    async stop() {
      child.kill("SIGTERM");
      await once(child, "exit");
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const controlStatus = async (socketPath) => JSON.parse(await askControl(socketPath, "/v1/status"));

function askControl(socketPath, path) {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("error", reject);
      response.on("end", () => resolve(text));
    });
    request.on("error", reject);
  });
}

export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

/** Returns the resident memory of a process, in megabytes. */
export function rssMB(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
}

export function descriptors(pid) {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Returns the p99 of wrk's clients, in milliseconds, and their failures. */
export async function p99OfOthers(port, seconds, target = "/", { connections = 16, timeoutSeconds = 2 } = {}) {
  const { stdout } = await execute("wrk", [
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    `--timeout=${timeoutSeconds}s`,
    "--latency",
    `http://127.0.0.1:${port}${target}`,
  ]);
  const [, value, unit] = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout);
  const failed = /Socket errors:.*|Non-2xx.*/.exec(stdout)?.[0];
  return { p99Ms: Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit], failed };
}

/** Prints a result line and records a failure for the exit status, unless `known` names a limit in docs/security.md. */
export function verdict(holds, text, known) {
  const isKnown = !holds && known !== undefined;
  process.stdout.write(`${holds ? "holds " : isKnown ? "KNOWN " : "FAILS "} ${text}${isKnown ? ` (${known})` : ""}\n`);
  if (!holds && !isKnown) process.exitCode = 1;
}

/** Returns the CPU time of a process so far, in seconds. */
export function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

const READ_EVERY_MS = 100;

/** A client that reads a little of a response at intervals. */
export function slowReader(port, target) {
  const socket = net.connect({ port, host: "127.0.0.1" }, () =>
    socket.write(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`),
  );
  const reader = { bytes: 0, closed: false, end: () => socket.destroy() };
  socket.on("data", (piece) => {
    reader.bytes += piece.length;
    socket.pause();
    setTimeout(() => socket.resume(), READ_EVERY_MS);
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    reader.closed = true;
  });
  return reader;
}

/** Runs `paceline serve` with these arguments. */
export function serveAlone(args, runtime, environment = {}) {
  return startServer("sh", (port) => [PACELINE, "serve", ...args, "--port", port, "--runtime", runtime], environment);
}

/** Starts a server that prints something when it listens on the port among its arguments. */
export async function startServer(program, argsFor, environment = {}) {
  const port = await freePort();
  const options = { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...environment } };
  const child = endsWithProgram(spawn(program, argsFor(String(port)), options));
  await once(child.stdout, "data");
  return {
    port,
    pid: child.pid,
    async stop() {
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}
