/** Runs a command of the operator until it exits or its deadline passes, in a process group of its own, and forwards its output lines. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { exitReason, seconds } from "../core/words.js";
import { spawnProblem } from "../runtime/runtimes.js";
import { signalGroup } from "./processes.js";

interface HookProcessOptions {
  command: readonly string[];
  cwd: string;
  environment: Record<string, string>;
  timeoutMs: number;
  onLine(line: string): void;
}

export interface HookProcess {
  /** The leader of the process group; undefined if it could not be started. */
  readonly pid: number | undefined;
  /** Resolves with the reason for the failure; undefined if the command exited with 0. */
  readonly ended: Promise<string | undefined>;
  /** Kills the command before its deadline. */
  kill(reason: string): void;
}

/** The time from SIGTERM to SIGKILL. */
export const KILL_AFTER_MS = 5_000;
/** How long a process outside the group may hold the output open after the command has exited. */
const REST_MS = 1_000;
const MAX_LINE = 400;

export function runHookProcess({ command, cwd, environment, timeoutMs, onLine }: HookProcessOptions): HookProcess {
  const [program = "", ...args] = command;
  let child: ChildProcess;
  try {
    // A pipe instead of a file, because a migration must run even if the disk is full.
    child = spawn(program, args, { cwd, env: environment, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    // Bun throws where Node emits an error.
    const ended = Promise.resolve(spawnProblem(error as Error, program, cwd));
    return { pid: undefined, ended, kill: () => {} };
  }
  let killedFor: string | undefined;
  let hardKill: NodeJS.Timeout | undefined;
  const signal = (name: NodeJS.Signals) => void (child.pid !== undefined && signalGroup(child.pid, name));
  const kill = (reason: string) => {
    if (killedFor !== undefined) return;
    killedFor = reason;
    signal("SIGTERM");
    hardKill = setTimeout(() => signal("SIGKILL"), KILL_AFTER_MS);
  };
  const deadline = setTimeout(() => kill(`took longer than ${seconds(timeoutMs)}, and was ended`), timeoutMs);
  const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
  const read = Promise.all(streams.map((stream) => readLines(stream, onLine)));
  const exited = new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(spawnProblem(error, program, cwd)));
    child.once("exit", (code, signal) => resolve(code === 0 ? undefined : exitReason({ code, signal })));
  });
  const settle = async () => {
    const reason = await exited;
    clearTimeout(deadline);
    clearTimeout(hardKill);
    // The processes that the command left in the background have no owner.
    signal("SIGKILL");
    let rest: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      rest = setTimeout(resolve, REST_MS);
    });
    await Promise.race([read, late]);
    clearTimeout(rest);
    for (const stream of streams) stream.destroy();
    return killedFor ?? reason;
  };
  return { pid: child.pid, ended: settle(), kill };
}

/** Longer lines are cut, and their rest is dropped. */
function readLines(stream: Readable, onLine: (line: string) => void): Promise<void> {
  let line = "";
  const end = () => {
    if (line !== "") onLine(line);
    line = "";
  };
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    const [first = "", ...others] = text.split("\n");
    line += first.slice(0, MAX_LINE - line.length);
    for (const next of others) {
      onLine(line.replace(/\r$/, ""));
      line = next.slice(0, MAX_LINE);
    }
  });
  return new Promise((resolve) => {
    for (const event of ["end", "error", "close"]) stream.once(event, resolve);
  }).then(end);
}
