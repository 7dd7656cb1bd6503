/** Loads the app of each pool in its own process for `paceline check`, to find errors that would occur on start. */
import { spawn } from "node:child_process";
import { errorLineOf } from "@paceline/wire/proc";
import type { FleetConfig, PoolConfig } from "../core/model.js";
import { remedyFor } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { builtFile } from "../package.js";
import { environmentOf, forRuntime, inheritable, type Runtimes, runtimeCommand } from "../runtime/runtimes.js";

/** Only the last lines of the app's output are shown, if it fails. */
const MAX_OUTPUT_CHARACTERS = 64 << 10;
const LAST_LINES = 20;
/** How long to wait for remaining output after the process has exited, in milliseconds. */
const LAST_OUTPUT_MS = 1_000;

interface LoadFailure {
  pool: string;
  reason: string;
  lastLines: string[];
}

/**
 * Returns the pools whose app failed to load.
 * @throws PacelineError `timeout` after `deadline` (monotonic clock)
 */
export async function loadApps(
  { pools }: Pick<FleetConfig, "pools">,
  runtimes: Runtimes,
  deadline: number | undefined,
): Promise<LoadFailure[]> {
  const failures: LoadFailure[] = [];
  for (const pool of pools) {
    const left = deadline === undefined ? pool.policy.readyTimeoutMs : Math.max(1, deadline - performance.now());
    const task = taskOf(pool, runtimes, left);
    if (task === undefined) continue;
    const { status, text } = await run(task, pool, left);
    if (status === 0) continue;
    if (status === "late" && deadline !== undefined) {
      throw new PacelineError("timeout", `${pool.name}: ${pool.source} did not load in time`);
    }
    failures.push({ pool: pool.name, ...loadFailureOf(pool, status, text, left) });
  }
  return failures;
}

/** The prefix of load-only.js's line about an app that takes too long. */
const STILL_LOADING = "still loading: ";

/**
 * Returns in one line why an app did not load, and the output of the app.
 * @param status of its process, or `late` after `timeoutMs`
 */
export function loadFailureOf(
  { source, workload }: Pick<PoolConfig, "source" | "workload">,
  status: number | string | "late",
  text: string,
  timeoutMs: number,
): { reason: string; lastLines: string[] } {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const lastLines = lines.filter((line) => !line.startsWith(STILL_LOADING)).slice(-LAST_LINES);
  if (status === "late") {
    const waits = lines.findLast((line) => line.startsWith(STILL_LOADING))?.slice(STILL_LOADING.length);
    const why = waits === undefined ? "" : `: ${waits}${remedyFor(workload as Record<string, unknown>)}`;
    return { reason: `${source} did not load within ${timeoutMs / 1000} s (readyTimeoutMs)${why}`, lastLines };
  }
  const ended = typeof status === "number" ? `${source} ended with status ${status} while it loaded` : status;
  return { reason: errorLineOf(lastLines) || ended, lastLines };
}

/** Returns the command line that loads the pool's app; undefined if there is nothing to load, as for a command. */
function taskOf(
  { workload, launch, runtime }: PoolConfig,
  runtimes: Runtimes,
  timeoutMs: number,
): [string, ...string[]] | undefined {
  const json = JSON.stringify(workload);
  if (!("entry" in launch)) return [launch.command, ...launch.args, "--load-only", json];
  if (launch.entry !== "server") return undefined;
  const { bunfig } = launch;
  const { command, args } = runtimeCommand(runtimes, runtime, { entry: LOAD_ONLY, hasUserCode: true, bunfig });
  return [command, ...args, json, `${timeoutMs}`];
}

const LOAD_ONLY = builtFile("programs/load-only/load-only.js");

function run(
  [program, ...args]: [string, ...string[]],
  pool: PoolConfig,
  timeoutMs: number,
): Promise<{ status: number | string | "late"; text: string }> {
  return new Promise((resolve) => {
    let text = "";
    const child = spawn(program, args, {
      cwd: pool.cwd,
      env: forRuntime(
        { ...inheritable(process.env as Record<string, string>), ...environmentOf(pool) },
        { hasUserCode: true },
      ),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const end = (status: number | string) => {
      clearTimeout(timer);
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ status, text });
    };
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      end("late");
    }, timeoutMs);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (part) => {
        text = (text + part).slice(-MAX_OUTPUT_CHARACTERS);
      });
      stream.on("error", () => {});
    }
    child.on("error", ({ message }) => end(message));
    const ended = (code: number | null, signal: NodeJS.Signals | null) => end(code ?? signal ?? "ended");
    child.on("close", ended);
    // Processes started by the app may keep its output open.
    child.on("exit", (code, signal) => setTimeout(ended, LAST_OUTPUT_MS, code, signal).unref());
  });
}
