/** Starts the command as a child of this process, in its session and group, as light as the runtime has it. */
import { closeSync, openSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { MARK_FD } from "@paceline/link";

export interface CommandEnd {
  code: number | null;
  signal: string | null;
}

export interface CommandOptions {
  /** The program's absolute path, and its arguments. */
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** The path of a file that does not exist; the command holds it open, deleted, for as long as it runs. */
  markFile: string;
  onEnd(end: CommandEnd): void;
  /** It could not be started. */
  onFailed(reason: string): void;
}

/** Its pid; undefined when it could not be started, of which `onFailed` tells in a later turn. */
export function startCommand(options: CommandOptions): number | undefined {
  let markFd: number | undefined;
  try {
    markFd = openSync(options.markFile, "wx", 0o600);
    unlinkSync(options.markFile);
    const stdio: Stdio = ["ignore", "inherit", "inherit"];
    stdio[MARK_FD] = markFd;
    return process.versions.bun === undefined ? startOnNode(options, stdio) : startOnBun(options, stdio);
  } catch (error) {
    setImmediate(() => options.onFailed((error as Error).message));
    return undefined;
  } finally {
    if (markFd !== undefined) closeSync(markFd);
  }
}

/** The same file as everywhere: beside the socket of the process. */
export function markFileOf(socket: string, mark: string): string {
  return join(dirname(socket), mark);
}

type Stdio = (number | "ignore" | "inherit")[];

function startOnBun({ args, cwd, env, onEnd }: CommandOptions, stdio: Stdio): number {
  // On Bun node:child_process costs every process what it imports.
  const child = Bun.spawn({
    cmd: [...args],
    cwd,
    env,
    stdio: stdio as never,
    onExit: (_child, code, signal) =>
      onEnd({ code, signal: signal === null ? null : nameOf(signal as number | string) }),
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

/** Bun tells a signal by its number. */
function nameOf(signal: number | string): string {
  if (typeof signal === "string") return signal;
  const { constants } = process.getBuiltinModule("node:os");
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;
}
