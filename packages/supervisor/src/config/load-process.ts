/** Has a configuration loaded and checked by a process of its own, which writes to fd 3 what it found. */
import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { FleetConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { DIST_FOLDER } from "../package.js";
import { inheritable, ownRuntimeCommand, spawnProblem } from "../runtime/runtime-command.js";
import type { LoadTask } from "./compose.js";
import { placeOf } from "./find.js";
import type { LoadResult } from "./load-child.js";
import { ConfigError } from "./problems.js";

/** The most a response may be, in bytes: room for many pools with whole environments. */
const MAX_RESPONSE_BYTES = 16 << 20;
/** What has been written may take so long to be read when the process has ended. */
const REST_OF_RESPONSE_MS = 5_000;
const NEWLINE = 0x0a;

/** One file, so that it has no import that a tsconfig.json of the operator's could lead elsewhere. */
const CHILD = fileURLToPath(new URL("config/bundle/load-child.js", DIST_FOLDER));

export interface LoadProcessOptions {
  /** The working directory of the child. */
  cwd: string;
  environment: Record<string, string>;
  /** Milliseconds until the child must have answered. Default: 20,000. */
  timeoutMs?: number | undefined;
}

/**
 * The fleet that `task` means; what a config module prints goes to our stderr.
 * @throws ConfigError with every problem there is, also when a config module throws, hangs or ends
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
      // The caller's own deadline is another matter than a config that hangs.
      if (options.timeoutMs !== undefined) throw new PacelineError("timeout", `${file}: ${message}`);
      throw fail(message);
    }
    // What it wrote may be read after its end; a process that it left behind may hold the pipe open.
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

/** The line that comes; empty when none comes whole, undefined when it is too long. A pipe needs no room on any disk. */
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
    // Killed, or without a response.
    pipe.once("error", () => resolve(""));
    pipe.once("end", () => resolve(""));
    pipe.once("close", () => resolve(""));
  });
}
