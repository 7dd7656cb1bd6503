/** Has a configuration loaded and checked by a process of its own, which writes to fd 3 what it found. */
import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { FleetConfig } from "../core/model.js";
import { DIST_FOLDER } from "../dist-folder.js";
import { PacelineError } from "../errors.js";
import { inheritable, ownRuntimeCommand } from "../runtime-command.js";
import { spawnProblem } from "../spawn-problem.js";
import type { LoadTask } from "./compose.js";
import { placeOf } from "./find.js";
import { ANSWER_NOT_WRITTEN, type LoadAnswer } from "./load-answer.js";
import { ConfigError } from "./problems.js";

/** The most an answer may be, in bytes: room for many pools with whole environments. */
const MAX_ANSWER_BYTES = 16 << 20;

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
  const answerFd = openAnswerFile();
  try {
    const { command, args } = ownRuntimeCommand({ entry: CHILD, hasUserCode: true });
    const child = spawn(command, [...args, JSON.stringify(task)], {
      cwd,
      env: inheritable(environment),
      stdio: ["ignore", 2, 2, answerFd],
    });
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
    const { size } = fstatSync(answerFd);
    if (size > MAX_ANSWER_BYTES) {
      throw fail(`makes a configuration of more than ${MAX_ANSWER_BYTES} bytes`);
    }
    if (ended.code === ANSWER_NOT_WRITTEN) throw noRoom("what was read of the config could not be written there");
    const bytes = Buffer.alloc(size);
    const text = bytes.toString("utf8", 0, readSync(answerFd, bytes, 0, size, 0));
    if (text === "")
      throw fail(`ended with ${ended.signal ?? `code ${ended.code}`} before it exported a configuration`);
    const answer = JSON.parse(text) as LoadAnswer;
    if ("problems" in answer) throw new ConfigError(answer.problems);
    return answer.config;
  } finally {
    closeSync(answerFd);
  }
}

/**
 * A file and not a pipe: what was written is there when the process has ended, however busy we are. It has no name, so that
 * nothing is left of it whatever ends us.
 */
function openAnswerFile(): number {
  let folder: string | undefined;
  try {
    folder = mkdtempSync(join(tmpdir(), "paceline-config-"));
    return openSync(join(folder, "answer.json"), "wx+", 0o600);
  } catch (cause) {
    throw noRoom((cause as Error).message, cause);
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}

function noRoom(reason: string, cause?: unknown): PacelineError {
  const message = `the folder for temporary files, ${tmpdir()}, cannot be used: ${reason}; make room there, or name another with TMPDIR`;
  return new PacelineError("tmpdir", message, { cause });
}
