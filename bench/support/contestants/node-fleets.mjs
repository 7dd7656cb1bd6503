/** Fleets of Node instances with common tools: PM2's cluster mode, Node's own cluster, the library http-proxy. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { freePort, ofChildren, run, untilServing, wait } from "../launch.mjs";
import { tree } from "../processes.mjs";
import { APPS } from "../programs.mjs";

const execute = promisify(execFile);
const SERVER = path.join(APPS, "node-server.mjs");

export function pm2Fleet(instances, programs) {
  return {
    name: "PM2 cluster",
    needs: "pm2",
    runtime: "node",
    settings: "`pm2 start -i N`, a PM2_HOME of its own; its daemon counts",
    async start(directory) {
      const port = await freePort();
      const home = path.join(directory, "pm2");
      const environment = { ...process.env, PM2_HOME: home, PM2_DISCRETE_MODE: "true", BENCH_PORT: String(port) };
      const pm2 = (...args) =>
        execute(process.execPath, [path.join(programs.peers, "node_modules/pm2/bin/pm2"), ...args], {
          cwd: directory,
          env: environment,
          maxBuffer: 1 << 24,
        });
      const daemon = () => {
        const file = path.join(home, "pm2.pid");
        return existsSync(file) ? Number(readFileSync(file, "utf8")) : undefined;
      };
      const stop = async () => {
        const pids = daemon() === undefined ? [] : tree(daemon());
        // Stops the daemon, which stops its instances first.
        await pm2("kill").catch((error) => process.stderr.write(`pm2 kill: ${error.message}\n`));
        for (const deadline = Date.now() + 10_000; Date.now() < deadline && pids.some(isAlive); ) await wait(50);
        for (const pid of pids.filter(isAlive)) process.kill(pid, "SIGKILL");
      };
      try {
        await pm2("start", SERVER, "--name", "bench", "-i", String(instances));
      } catch (error) {
        await stop();
        throw error;
      }
      return { port, pids: () => (daemon() === undefined ? [] : tree(daemon())), stop };
    },
  };
}

function isAlive(pid) {
  try {
    // A zombie that nobody has waited for has exited.
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

export function clusterFleet(instances) {
  return {
    name: "Node cluster",
    runtime: "node",
    settings: "SCHED_RR, backlog 4096; its primary counts",
    async start(directory) {
      const port = await freePort();
      const environment = { BENCH_PORT: String(port), BENCH_INSTANCES: String(instances) };
      return ofChildren(port, [run(process.execPath, [path.join(APPS, "node-cluster.mjs")], directory, environment)]);
    },
  };
}

export function httpProxyFleet(instances, programs) {
  return {
    name: "http-proxy",
    needs: "http-proxy",
    runtime: "node",
    settings: "keep-alive agent, xfwd, in turn, 1 process, in front of Node http on unix sockets",
    async start(directory) {
      const port = await freePort();
      const sockets = Array.from({ length: instances }, (_, i) => path.join(directory, `${i}.sock`));
      const children = sockets.map((socket) => run(process.execPath, [SERVER], directory, { BENCH_SOCKET: socket }));
      for (const socket of sockets) await untilServing(socket);
      const environment = {
        BENCH_PORT: String(port),
        BENCH_PEERS: programs.peers,
        BENCH_SOCKETS: sockets.join(","),
      };
      const proxy = run(process.execPath, [path.join(APPS, "node-proxy.mjs")], directory, environment);
      return ofChildren(port, [...children, proxy]);
    },
  };
}
