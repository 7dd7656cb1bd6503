/** Has a configuration loaded and checked by a process of its own, which says on fd 3 what it found. */
import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { FleetConfig } from "../core/model.js";
import type { LoadTask } from "./compose.js";
import { ConfigError, type Problem } from "./problems.js";

/** What the child says on fd 3. */
export type LoadAnswer = { config: FleetConfig } | { problems: Problem[] };

/** The most an answer may be, in bytes: room for many pools with whole environments. */
const MAX_ANSWER_BYTES = 16 << 20;

const CHILD = fileURLToPath(new URL("load-child.js", import.meta.url));

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
  const file = task.source.kind === "config" ? task.source.file : task.source.app;
  const fail = (message: string) => new ConfigError([{ file, path: [], message }]);
  const child = spawn(process.execPath, [CHILD, JSON.stringify(task)], {
    cwd,
    env: environment,
    stdio: ["ignore", 2, 2, "pipe"],
  });
  const chunks: Buffer[] = [];
  let size = 0;
  let trouble: string | undefined;
  const giveUp = (why: string) => {
    trouble ??= why;
    child.kill("SIGKILL");
  };
  const timer = setTimeout(() => giveUp(`did not finish within ${timeoutMs / 1000} s`), timeoutMs);
  const pipe = child.stdio[3] as Readable;
  pipe.on("error", (error) => giveUp(`could not be read: ${error.message}`));
  pipe.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) giveUp(`makes a configuration of more than ${MAX_ANSWER_BYTES} bytes`);
    else chunks.push(chunk);
  });
  const ended = await new Promise<{ code: number | null; signal: string | null } | Error>((resolve) => {
    child.on("error", resolve);
    child.on("close", (code, signal) => resolve({ code, signal }));
  });
  clearTimeout(timer);
  if (ended instanceof Error) throw fail(`could not be run: ${ended.message}`);
  if (trouble !== undefined) throw fail(trouble);
  const text = Buffer.concat(chunks).toString();
  if (text === "") throw fail(`ended with ${ended.signal ?? `code ${ended.code}`} before it exported a configuration`);
  const answer = JSON.parse(text) as LoadAnswer;
  if ("problems" in answer) throw new ConfigError(answer.problems);
  return answer.config;
}
