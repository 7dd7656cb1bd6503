/** The problems of a configuration, collected in one error for people and programs. */
import { relative } from "node:path";
import type { PoolConfig } from "../core/model.js";
import { visibleLine } from "../core/words.js";
import { PacelineError } from "../errors.js";

/** One problem and its place. */
export interface Problem {
  /** The file's absolute path; absent for a problem of the command line. */
  file?: string;
  /** The key's path, for example `["pools", "web", "instances"]`; empty for the file as a whole. */
  path: (string | number)[];
  /** The line in the file, from 1. */
  line?: number;
  /** The column in that line, from 1. */
  column?: number;
  message: string;
}

/** Thrown if the configuration is invalid. The code is `config`; the message has one line per problem. */
export class ConfigError extends PacelineError {
  readonly problems: Problem[];
  /** For `paceline check`: the pools whose apps can be loaded in spite of the problems. */
  readonly sound: readonly PoolConfig[];

  constructor(
    problems: Problem[],
    { sound = [], ...options }: { cause?: unknown; sound?: readonly PoolConfig[] } = {},
  ) {
    super("config", problems.map((problem) => formatProblem(problem)).join("\n"), options);
    this.problems = problems;
    this.sound = sound;
  }
}

/** Returns `paceline.toml:12: pools.web.instances: must be …`. Paths under `cwd` are relative to it. */
function formatProblem(problem: Problem, cwd: string = process.cwd()): string {
  const where = [];
  if (problem.file !== undefined) {
    const seen = relative(cwd, problem.file);
    const file = seen === "" || seen.startsWith("..") ? problem.file : seen;
    where.push([visibleLine(file), problem.line, problem.column].filter((part) => part !== undefined).join(":"));
  }
  if (problem.path.length > 0) where.push(formatKeyPath(problem.path));
  return [...where, problem.message].join(": ");
}

/** Returns `listen[1]` or `pools.web.env.A`; unusual key names are quoted. */
export function formatKeyPath(path: (string | number)[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[\w-]+$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}

/** The maximum number of problems that are reported before the configuration is validated. */
export const MAX_EARLY_PROBLEMS = 20;

/** Whether this is a value that JSON has no form for. */
export function isUnsupported(value: unknown): boolean {
  return ["function", "symbol", "bigint"].includes(typeof value);
}

/** Returns the values that JSON would silently drop, as problems. */
export function findUnsupported(value: unknown, path: (string | number)[]): Pick<Problem, "path" | "message">[] {
  if (path.length > 100) return [{ path: [], message: "must be a table that does not contain itself" }];
  const type = typeof value;
  if (isUnsupported(value)) return [{ path, message: `must be something JSON can hold, not a ${type}` }];
  if (type === "number" && !Number.isFinite(value)) return [{ path, message: `must be a finite number, not ${value}` }];
  if (type !== "object" || value === null) return [];
  const found: Pick<Problem, "path" | "message">[] = [];
  for (const [key, child] of Object.entries(value as object)) {
    found.push(...findUnsupported(child, [...path, Array.isArray(value) ? Number(key) : key]));
    // A table that contains itself would be reported endlessly.
    if (found.length >= MAX_EARLY_PROBLEMS || found.at(-1)?.path.length === 0)
      return found.slice(0, MAX_EARLY_PROBLEMS);
  }
  return found;
}

/** The maximum size of a configuration that is passed as a value, in bytes. It is an argument of the process that loads it. */
const MAX_OBJECT_BYTES = 100_000;

/**
 * Returns a configuration as JSON represents it.
 * @throws ConfigError if it cannot be represented in JSON
 */
export function copyOfConfig(config: object): object {
  const unsupported = findUnsupported(config, []);
  if (unsupported.length > 0) throw new ConfigError(unsupported);
  const json = JSON.stringify(config);
  if (Buffer.byteLength(json) > MAX_OBJECT_BYTES)
    throw new ConfigError([{ path: [], message: `the config has more than ${MAX_OBJECT_BYTES} bytes` }]);
  return JSON.parse(json) as object;
}
