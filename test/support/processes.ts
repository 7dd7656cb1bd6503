/** Runs commands, and finds and ends the processes that a test started, however far from it they have gone. */
import { spawn } from "node:child_process";
import { accessSync, constants, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "vitest";

/** Every process of a test's fleet inherits this variable; its value is the fleet's own. PACELINE_ ones are not inherited. */
export const FLEET_TAG = "TEST_FLEET";

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** Both, in the order in which they came. */
  output: string;
  tookMs: number;
}

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** SIGKILL after this; default 150,000. */
  deadlineMs?: number;
}

/** How long what a process wrote is waited for when it has ended. */
const LAST_OUTPUT_MS = 1_000;

/** Runs a command to its end and keeps what it wrote. */
export function run(command: string, args: string[], options: RunOptions = {}): Promise<Finished> {
  const { deadlineMs = 150_000, ...spawnOptions } = options;
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const child = spawn(command, args, { ...spawnOptions, stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), deadlineMs);
    let stdout = "";
    let stderr = "";
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      output += text;
    });
    child.on("error", reject);
    const finish = (code: number | null, signal: NodeJS.Signals | null) => {
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ code, signal, stdout, stderr, output, tookMs: performance.now() - startedAt });
    };
    child.on("close", finish);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      // A daemon that it leaves behind may hold its output open. What it wrote itself is read by then, and in the turn after that
      // where this process was held up for as long.
      setTimeout(() => setImmediate(() => setImmediate(finish, code, signal)), LAST_OUTPUT_MS).unref();
    });
  });
}

/** The pids of all live processes whose environment has the tag. Zombies have none. */
export function taggedProcesses(tag: string): number[] {
  const wanted = `${FLEET_TAG}=${tag}\0`;
  const pids: number[] = [];
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    try {
      if (readFileSync(join("/proc", entry, "environ"), "latin1").includes(wanted)) pids.push(pid);
    } catch {
      // It ended while we looked, or is somebody else's.
    }
  }
  return pids;
}

/** What a process was started as, for messages. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    return "(gone)";
  }
}

/** Sends a signal; a process that is gone already is fine. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Whether a program is on PATH, or in /usr/sbin. */
export function hasProgram(program: string): boolean {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"]) {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      // Not here.
    }
  }
  return false;
}

/** Skips the test, with the reason, when a program is not installed. */
export function needs(context: TestContext, program: string): void {
  if (!hasProgram(program)) context.skip(`${program} is not installed`);
}
