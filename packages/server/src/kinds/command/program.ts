/** Starts the program of a shim, sends it signals, and reports how it ended. */
import { TAG_FD } from "@paceline/wire";

export function sendSignal(pid: number, signal: string): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has just exited; the event follows.
  }
}

export interface CommandEnd {
  code: number | null;
  signal: string | null;
}

interface CommandOptions {
  /** The program's absolute path and its arguments. */
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  onEnd(end: CommandEnd): void;
  /** Gives the program `process.send`, and receives its messages. Default: it has none. */
  onMessage?: ((message: unknown) => void) | undefined;
  /** Called when the command could not be started. */
  onFailed(reason: string): void;
}

/** Returns the pid; undefined if the command could not be started. `onFailed` reports that in a later turn. */
export function startCommand(options: CommandOptions): number | undefined {
  const stdio: Stdio = ["ignore", "inherit", "inherit"];
  // Passes on the file of the spawn tag, which the supervisor has opened.
  stdio[TAG_FD] = TAG_FD;
  try {
    return process.versions.bun === undefined ? startOnNode(options, stdio) : startOnBun(options, stdio);
  } catch (error) {
    setImmediate(() => options.onFailed((error as Error).message));
    return undefined;
  }
}

type Stdio = (number | "ignore" | "inherit")[];

function startOnBun({ args, cwd, env, onEnd, onMessage }: CommandOptions, stdio: Stdio): number {
  // On Bun, importing node:child_process costs each process memory.
  const child = Bun.spawn({
    cmd: [...args],
    cwd,
    env,
    stdio: stdio as never,
    // Node understands only JSON.
    ...(onMessage !== undefined && { ipc: onMessage, serialization: "json" }),
    onExit: (_child, code, signal) => onEnd({ code, signal: signal === null ? null : signalName(signal) }),
  });
  return child.pid;
}

function startOnNode(options: CommandOptions, stdio: Stdio): number | undefined {
  const { args, cwd, env, onEnd, onFailed, onMessage } = options;
  const { spawn } = process.getBuiltinModule("node:child_process");
  const [program = "", ...rest] = args;
  const child = spawn(program, rest, { cwd, env, stdio: onMessage === undefined ? stdio : [...stdio, "ipc"] });
  if (onMessage !== undefined) child.on("message", onMessage);
  child.on("error", (error) => child.pid === undefined && onFailed(error.message));
  child.on("exit", (code, signal) => onEnd({ code, signal }));
  return child.pid;
}

/** Despite its types, Bun reports a signal by number. */
function signalName(signal: number | string): string {
  const known = Object.entries(signals()).find(([, number]) => number === signal);
  return known?.[0] ?? `${signal}`;
}

/** Returns 0 for an unknown signal. */
export function signalNumber(name: string | null): number {
  return signals()[name as NodeJS.Signals] ?? 0;
}

function signals(): Record<NodeJS.Signals, number> {
  return process.getBuiltinModule("node:os").constants.signals;
}
