/** The two sides of a row: hostile peers in the idle class, and the normal client. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { cpuSeconds, endsWithProgram } from "../support.mjs";
import { inIdleClass } from "./idle-class.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const OPTIONS = { stdio: ["pipe", "pipe", "inherit"] };

/** Starts the peers of a row. */
export async function startPeers(row, { port, tlsPort = 0 }, seconds) {
  const [command, ...args] = inIdleClass(
    [process.execPath, here("peers-process.mjs"), row, port, seconds, tlsPort].map(String),
  );
  const child = endsWithProgram(spawn(command, args, OPTIONS));
  const ended = once(child, "exit");
  await Promise.race([once(child.stdout, "data"), ended]);
  if (child.exitCode !== null) throw new Error(`the peers ended with status ${child.exitCode}`);
  return {
    pid: child.pid,
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}

/** Runs the normal client for `seconds`, and returns its latencies in milliseconds. */
export async function normalClient(port, target, seconds) {
  const child = endsWithProgram(
    spawn(process.execPath, [here("normal-client.mjs"), port, target, seconds].map(String), OPTIONS),
  );
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (piece) => {
    text += piece;
  });
  await once(child, "close");
  return JSON.parse(text);
}

/** Returns a function that returns each process's share of a CPU since this call, except for processes that hardly ran. */
export function watchLoad(pids) {
  const startedAt = performance.now();
  const before = cpuOf(pids);
  return () => {
    const seconds = (performance.now() - startedAt) / 1000;
    return Object.entries(cpuOf(pids))
      .map(([name, cpu]) => [name, Math.round((100 * (cpu - before[name])) / seconds)])
      .filter(([, percent]) => percent >= 5)
      .sort((a, b) => b[1] - a[1]);
  };
}

function cpuOf(pids) {
  return Object.fromEntries(
    Object.entries(pids).map(([name, pid]) => {
      try {
        return [name, cpuSeconds(pid)];
      } catch {
        return [name, Number.NaN];
      }
    }),
  );
}
