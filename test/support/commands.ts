/** Runs commands that only read in a process that is kept, because a process for each takes 0.1 s of CPU time on Bun and 0.2 s on Node. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { findRuntimes } from "../../packages/supervisor/dist/runtime/runtimes.js";
import type { Finished } from "./processes.js";

const SERVER = fileURLToPath(new URL("./command-server.mjs", import.meta.url));
/** The flags with which bin/paceline starts Bun. */
const BUN_FLAGS = ["--smol", "--no-env-file", "--no-install", "--config=/dev/null", "--tsconfig-override=/dev/null"];
/** Commands that change nothing and exit by themselves. */
const READING = new Set([
  ...["status", "explain", "ls", "logs", "events", "deaths", "history", "certs"],
  ...["diff", "check", "export", "dump"],
]);
/** Commands that change a fleet or a folder, but leave their process unchanged, unless the fleet belongs to another user. */
const CHANGING = new Set(["reload", "restart", "scale", "stop", "import", "init"]);
/** Options that make a command wait, change something, or read more than its output shows. */
const NOT_ALIKE = /^(-f|--follow|-H|--on|--check|--timeout|renew)\b/;

/** Whether a command can run in a kept process. */
export function canBeKept([name = "", ...options]: readonly string[]): boolean {
  return READING.has(name) && !options.some((option) => NOT_ALIKE.test(option));
}

/** Whether a command that changes something can run in a kept process, too, for a test of what it prints and does. */
export function canBeKeptToo([name = "", ...options]: readonly string[]): boolean {
  return CHANGING.has(name) && !options.some((option) => NOT_ALIKE.test(option) || option === "--run-dir");
}

class CommandServer {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<
    number,
    { done(result: Finished): void; fail(error: Error): void; since: number }
  >();
  private readonly ready: Promise<void>;
  private next = 1;
  /** A command may have made its process exit after its result. */
  isEnded = false;

  constructor(program: string, flags: string[]) {
    this.child = spawn(program, [...flags, SERVER], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      serialization: "json",
    });
    this.child.unref();
    this.child.channel?.unref();
    this.ready = new Promise((resolve, reject) => {
      this.child.once("exit", (code, signal) => {
        this.isEnded = true;
        const error = new Error(`the process for commands ended: ${code ?? signal}`);
        reject(error);
        for (const { fail } of this.waiting.values()) fail(error);
      });
      this.child.on("message", ({ id, code, output }: { id: number; code: number; output?: [string, string][] }) => {
        if (id === 0 || output === undefined) return resolve();
        const of = (...streams: string[]) =>
          output.flatMap(([stream, text]) => (streams.includes(stream) ? [text] : []));
        const stdout = of("stdout").join("");
        const stderr = of("stderr").join("");
        const { done, since = 0 } = this.waiting.get(id) ?? {};
        this.waiting.delete(id);
        const tookMs = performance.now() - since;
        done?.({ code, signal: null, stdout, stderr, output: of("stdout", "stderr").join(""), tookMs });
      });
    });
    this.ready.catch(() => undefined); // Each command then fails with the same error.
  }

  async run(args: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<Finished> {
    await this.ready;
    const id = this.next++;
    return new Promise((done, fail) => {
      this.waiting.set(id, { done, fail, since: performance.now() });
      this.child.send({ id, args, cwd, env });
    });
  }
}

const servers = new Map<string, CommandServer>();

/** Runs a command for which `canBeKept` holds, in the kept process of its runtime. */
export function runKept(args: string[], cwd: string, environment: NodeJS.ProcessEnv): Promise<Finished> {
  const runtime = environment.PACELINE_RUNTIME === "node" ? "node" : "bun";
  const { [runtime]: program = process.execPath } = findRuntimes();
  const known = servers.get(runtime);
  const server = known?.isEnded === false ? known : new CommandServer(program, runtime === "bun" ? BUN_FLAGS : []);
  servers.set(runtime, server);
  // NODE_PATH is what bin/paceline removes; the others are what a shell sets.
  const { NODE_PATH: _, ...env } = environment;
  return server.run(args, cwd, { ...env, PWD: cwd });
}
