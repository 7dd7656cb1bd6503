/** Runs a config module in a process of its own and takes the plain value it exports. */
import { spawn } from "node:child_process";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { ConfigError } from "./problems.js";

/** What the child says on fd 3. */
export type LoadAnswer = { config: unknown } | { error: string; path?: (string | number)[] };

/** The most a config may be as JSON, in bytes. */
const MAX_ANSWER_BYTES = 1 << 20;

const CHILD = fileURLToPath(new URL("load-child.js", import.meta.url));

export interface LoadModuleOptions {
  environment: Record<string, string>;
  /** Milliseconds until the module must have said what it exports. Default: 20,000. */
  timeoutMs?: number;
  /** The runtime to run it on. Default: the one we run on. */
  execPath?: string;
}

/**
 * The default export of the module `file`; what the module prints goes to our stderr.
 * @throws ConfigError when the module throws, hangs, ends, or exports what JSON cannot hold
 */
export async function loadModule(file: string, options: LoadModuleOptions): Promise<unknown> {
  const fail = (message: string, path: (string | number)[] = []) => new ConfigError([{ file, path, message }]);
  const timeoutMs = options.timeoutMs ?? 20_000;
  const child = spawn(options.execPath ?? process.execPath, [CHILD, file], {
    cwd: dirname(file),
    env: options.environment,
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
    if (size > MAX_ANSWER_BYTES) giveUp(`exports more than ${MAX_ANSWER_BYTES} bytes`);
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
  if ("error" in answer) throw fail(answer.error, answer.path);
  return answer.config;
}
