/** Loads and validates a configuration in a child process, which writes its result to fd 3. */
import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { FleetConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { DIST_FOLDER } from "../package.js";
import { inheritable, ownRuntimeCommand, spawnProblem } from "../runtime/runtimes.js";
import type { LoadTask } from "./compose.js";
import { placeOf } from "./find.js";
import type { LoadResult } from "./load-child.js";
import { ConfigError } from "./problems.js";

/** The maximum size of a result in bytes: room for many pools with whole environments. */
const MAX_RESPONSE_BYTES = 16 << 20;
/** How long reading the remaining result may take after the process has exited. */
const REST_OF_RESPONSE_MS = 5_000;
const NEWLINE = 0x0a;

/** A bundle without imports, so that the operator's tsconfig.json cannot redirect them. */
const CHILD = fileURLToPath(new URL("config/bundle/load-child.js", DIST_FOLDER));

export interface LoadProcessOptions {
  /** The working directory of the child. */
  cwd: string;
  environment: Record<string, string>;
  /** The time limit for the child, in milliseconds. Default: 20,000. */
  timeoutMs?: number | undefined;
}

/**
 * Loads the fleet of `task` in a child process. The child's own output goes to our stderr.
 * @throws ConfigError with every problem found, also if a config module throws, hangs or exits
 */
export async function loadInProcess(task: LoadTask, options: LoadProcessOptions): Promise<FleetConfig> {
  const { cwd, environment, timeoutMs = 20_000 } = options;
  const file = placeOf(task.source);
  const fail = (message: string) => new ConfigError([{ file, path: [], message }]);
  const { command, args } = ownRuntimeCommand({ entry: CHILD, hasUserCode: true });
  const child = spawn(command, [...args, JSON.stringify(task)], {
    cwd,
    env: inheritable(environment),
    stdio: ["ignore", 2, 2, "pipe"],
  });
  const pipe = child.stdio[3] as Readable;
  try {
    const answered = readResult(pipe, () => child.kill("SIGKILL"));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    const ended = await new Promise<{ code: number | null; signal: string | null } | Error>((resolve) => {
      child.on("error", resolve);
      child.on("exit", (code, signal) => resolve({ code, signal }));
    });
    clearTimeout(timer);
    if (ended instanceof Error) throw fail(`could not be read: ${spawnProblem(ended, command, cwd)}`);
    if (late) {
      const message = `did not finish within ${timeoutMs / 1000} s`;
      // The caller's deadline passed; the config itself need not be at fault.
      if (options.timeoutMs !== undefined) throw new PacelineError("timeout", `${file}: ${message}`);
      throw fail(message);
    }
    // Output may arrive after the exit, and a process left behind may hold the pipe open.
    let rest: NodeJS.Timeout | undefined;
    const missing = new Promise<"">((resolve) => {
      rest = setTimeout(resolve, REST_OF_RESPONSE_MS, "");
    });
    const text = await Promise.race([answered, missing]);
    clearTimeout(rest);
    if (text === undefined) throw fail(`exports a configuration of more than ${MAX_RESPONSE_BYTES} bytes`);
    if (text === "")
      throw fail(`ended with ${ended.signal ?? `code ${ended.code}`} before it exported a configuration`);
    const response = JSON.parse(text) as LoadResult;
    if ("problems" in response) throw new ConfigError(response.problems);
    return response.config;
  } finally {
    pipe.destroy();
  }
}

/** Reads one line: empty if it is incomplete, undefined if it is too long. A pipe needs no disk space. */
function readResult(pipe: Readable, onTooLong: () => void): Promise<string | undefined> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let size = 0;
    pipe.on("data", (part: Buffer) => {
      parts.push(part);
      size += part.length;
      if (size > MAX_RESPONSE_BYTES) {
        resolve(undefined);
        onTooLong();
      } else if (part.at(-1) === NEWLINE) resolve(Buffer.concat(parts).toString("utf8"));
    });
    // The child was killed or wrote nothing.
    pipe.once("error", () => resolve(""));
    pipe.once("end", () => resolve(""));
    pipe.once("close", () => resolve(""));
  });
}
