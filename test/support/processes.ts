/** Runs commands, and finds and kills all processes started by a test. */
import { spawn } from "node:child_process";
import { accessSync, constants, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "vitest";
import { waitFor } from "./wait.js";

/**
 * Every process of a test's fleet inherits this variable; its value is unique for the fleet. Variables with PACELINE_ are not inherited.
 */
export const FLEET_TAG = "TEST_FLEET";

/** The environment for a process that contacts a registry: the certificates of this machine, if it has any. */
export function certificates(): NodeJS.ProcessEnv {
  const { TEST_EXTRA_CA_CERTS } = process.env;
  return TEST_EXTRA_CA_CERTS === undefined ? {} : { NODE_EXTRA_CA_CERTS: TEST_EXTRA_CA_CERTS };
}

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** Both outputs, in order of arrival. */
  output: string;
  tookMs: number;
}

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** SIGKILL after this time in milliseconds; default 150,000. */
  deadlineMs?: number;
}

/** How long to wait for a process's last output after it has exited, in milliseconds. */
const LAST_OUTPUT_MS = 1_000;

/**
 * Calls back when the last output of an exited process was read, even if a daemon keeps its output open. The output is read by then, or in
 * the next turn if this process was delayed.
 */
export function afterLastOutput(callback: () => void): void {
  setTimeout(() => setImmediate(() => setImmediate(callback)), LAST_OUTPUT_MS).unref();
}

/** Runs a command until it exits, and keeps its output. */
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
      afterLastOutput(() => finish(code, signal));
    });
  });
}

/**
 * Returns the pids of all live processes that have the tag in their environment, or whose working directory is in the folder. Zombies have
 * neither.
 */
export function taggedProcesses(tag: string, folder?: string): number[] {
  const wanted = `${FLEET_TAG}=${tag}\0`;
  const isTagged = (entry: string) => readFileSync(join("/proc", entry, "environ"), "latin1").includes(wanted);
  // Redis and other programs overwrite their environment with their title.
  const isInside = (entry: string) =>
    folder !== undefined && readlinkSync(join("/proc", entry, "cwd")).startsWith(folder);
  const pids: number[] = [];
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    try {
      if (isTagged(entry) || isInside(entry)) pids.push(pid);
    } catch {
      // It has exited in the meantime, or belongs to another user.
    }
  }
  return pids;
}

/**
 * Whether a process has exited and its descriptors are closed: the descriptors of a killed process stay open a little longer than its
 * memory.
 */
export function hasEnded(pid: number): boolean {
  const [state, threads] = stateOf(pid);
  return state === undefined || ((state === "Z" || state === "X") && threads <= 1);
}

/** Returns the state letter and the number of threads, as in proc_pid_stat(5). */
function stateOf(pid: number): [state: string | undefined, threads: number] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [fields[0], Number(fields[17])];
  } catch {
    return [undefined, 0];
  }
}

/** Kills a process, and resolves when its descriptors are closed. */
export async function kill(pid: number): Promise<void> {
  signal(pid, "SIGKILL");
  await waitFor(`the end of process ${pid}`, () => hasEnded(pid));
}

/** Stops a process with SIGSTOP, and resolves when it does not run any more. */
export async function pause(pid: number): Promise<void> {
  signal(pid, "SIGSTOP");
  await waitFor(`process ${pid} to be stopped`, () => stateOf(pid)[0] === "T");
}

/** Returns a process's command line, for messages. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    return "(gone)";
  }
}

/** Sends a signal; ignores a process that is already gone. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Returns whether a program is on PATH, or in /usr/sbin. */
export function hasProgram(program: string): boolean {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"]) {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      // Not in this folder.
    }
  }
  return false;
}

/** Skips the test, with the reason, if a program is not installed. */
export function needs(context: TestContext, program: string): void {
  if (!hasProgram(program)) context.skip(`${program} is not installed`);
}
