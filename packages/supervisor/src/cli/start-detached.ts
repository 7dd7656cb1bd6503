/** Starts a fleet in a session of its own and waits until all of it is ready; of a start that fails nothing is left. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { OperationResult } from "../control/api.js";
import { ControlClient } from "../control/client.js";
import { controlSocketIn, makePrivate } from "../shell/run-dir.js";
import type { StartOptions } from "./commands/start.js";
import { describeFleet } from "./describe-fleet.js";
import { EXIT, type ExitStatus, exitStatusOf } from "./exit-status.js";
import { milliseconds } from "./options.js";
import { print, printError, printJson, printResult } from "./output.js";
import { prepareStart } from "./prepare-start.js";

/** What a supervisor writes to its own output is little; beyond this it is cut at the next start. */
const MAX_OUTPUT_BYTES = 1 << 20;
/** How long a supervisor whose fleet did not get ready may take to take it down. */
const STOP_TIMEOUT_MS = 90_000;

export async function startDetached(target: string, options: StartOptions): Promise<ExitStatus> {
  // The supervisor loads it again; here it is checked where its problems can be seen.
  const { fleet, runDirPath } = await prepareStart(target, options);
  makePrivate(runDirPath);
  const output = openOutput(join(runDirPath, "supervisor.out"));
  const child = spawnSupervisor(target, options, output.fd);
  const exited = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
  const timeoutMs = milliseconds(options.timeout);
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const left = () => (deadline === undefined ? undefined : Math.max(1, deadline - performance.now()));

  const stop = async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  };
  const interrupted = () => void stop().then(() => process.exit(130));
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);

  const up = await waitForNotice(child.stdio[3] as Readable, left());
  if (up === "ended") {
    const code = await exited;
    process.stderr.write(output.read());
    return (code ?? EXIT.failed) as ExitStatus;
  }
  const result: OperationResult =
    up === "late" ? lateResult(options) : await waitReady(controlSocketIn(runDirPath), left(), options);
  if (!result.ok) {
    await stop();
    process.stderr.write(output.read());
    const status = printResult(result, options.json === true);
    if (!options.json) printError("nothing was left running");
    return status;
  }
  child.unref();
  if (options.json) printJson({ ...result, pid: child.pid, runDir: runDirPath });
  else print(`paceline: ${describeFleet(fleet.config, process.cwd())}: all ready (pid ${child.pid})`);
  return exitStatusOf(result);
}

function spawnSupervisor(target: string, options: StartOptions, outputFd: number): ChildProcess {
  const { instances, listen = [], runtime, runDir } = options;
  const args = ["start", "--log-format", "none", "--notify-fd", "3"];
  if (instances !== undefined) args.push("--instances", String(instances));
  for (const address of listen) args.push("--listen", address);
  if (runtime !== undefined) args.push("--runtime", runtime);
  if (runDir !== undefined) args.push("--run-dir", runDir);
  const child = spawn(process.execPath, [process.argv[1] as string, ...args, "--", target], {
    detached: true,
    stdio: ["ignore", outputFd, outputFd, "pipe"],
  });
  closeSync(outputFd);
  return child;
}

/** What the supervisor says on its notice pipe: that it is up, or, by closing it, that it ended. */
function waitForNotice(pipe: Readable, timeoutMs: number | undefined): Promise<"up" | "ended" | "late"> {
  return new Promise((resolve) => {
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => resolve("late"), timeoutMs);
    const end = (state: "up" | "ended") => {
      clearTimeout(timer);
      pipe.destroy();
      resolve(state);
    };
    pipe.once("data", () => end("up"));
    pipe.once("error", () => end("ended"));
    pipe.once("end", () => end("ended"));
  });
}

async function waitReady(socketPath: string, timeoutMs: number | undefined, options: StartOptions) {
  const client = new ControlClient({ socketPath, timeoutMs });
  try {
    return await client.operate("GET", "/v1/ready");
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return code === "timeout" ? lateResult(options) : ({ ok: false, code: "failed", message } as const);
  }
}

function lateResult({ timeout }: StartOptions): OperationResult {
  return { ok: false, code: "timeout", message: `not all instances got ready within ${timeout} s` };
}

/** Opens the file for appending; `read` gives what was written since. */
function openOutput(path: string): { fd: number; read(): string } {
  const fd = openSync(path, "a", 0o600);
  if (fstatSync(fd).size > MAX_OUTPUT_BYTES) ftruncateSync(fd, 0);
  const from = fstatSync(fd).size;
  return {
    fd,
    read: () => {
      const reader = openSync(path, "r");
      const size = Math.min(Math.max(0, fstatSync(reader).size - from), MAX_OUTPUT_BYTES);
      const buffer = Buffer.alloc(size);
      const length = readSync(reader, buffer, 0, size, from);
      closeSync(reader);
      return buffer.toString("utf8", 0, length);
    },
  };
}
