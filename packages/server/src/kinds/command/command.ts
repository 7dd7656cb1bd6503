/** Starts the command as a child of this process, in its session and group, as light as the runtime has it. */
import { MARK_FD } from "@paceline/wire";

export interface CommandEnd {
  code: number | null;
  signal: string | null;
}

interface CommandOptions {
  /** The program's absolute path, and its arguments. */
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  onEnd(end: CommandEnd): void;
  /** It could not be started. */
  onFailed(reason: string): void;
}

/** Its pid; undefined when it could not be started, of which `onFailed` tells in a later turn. */
export function startCommand(options: CommandOptions): number | undefined {
  const stdio: Stdio = ["ignore", "inherit", "inherit"];
  // Ours, from the supervisor, is handed on.
  stdio[MARK_FD] = MARK_FD;
  try {
    return process.versions.bun === undefined ? startOnNode(options, stdio) : startOnBun(options, stdio);
  } catch (error) {
    setImmediate(() => options.onFailed((error as Error).message));
    return undefined;
  }
}

type Stdio = (number | "ignore" | "inherit")[];

function startOnBun({ args, cwd, env, onEnd }: CommandOptions, stdio: Stdio): number {
  // On Bun node:child_process costs every process what it imports.
  const child = Bun.spawn({
    cmd: [...args],
    cwd,
    env,
    stdio: stdio as never,
    onExit: (_child, code, signal) => onEnd({ code, signal: signal === null ? null : signalName(signal) }),
  });
  return child.pid;
}

function startOnNode({ args, cwd, env, onEnd, onFailed }: CommandOptions, stdio: Stdio): number | undefined {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const [program = "", ...rest] = args;
  const child = spawn(program, rest, { cwd, env, stdio });
  child.on("error", (error) => child.pid === undefined && onFailed(error.message));
  child.on("exit", (code, signal) => onEnd({ code, signal }));
  return child.pid;
}

/** Bun tells a signal by its number, whatever its types say. */
function signalName(signal: number | string): string {
  const known = Object.entries(signals()).find(([, number]) => number === signal);
  return known?.[0] ?? `${signal}`;
}

/** 0 for one that is not known. */
export function signalNumber(name: string | null): number {
  return signals()[name as NodeJS.Signals] ?? 0;
}

function signals(): Record<NodeJS.Signals, number> {
  return process.getBuiltinModule("node:os").constants.signals;
}
