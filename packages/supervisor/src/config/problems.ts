/** The problems of a configuration, collected in one error that people and programs can read. */
import { relative } from "node:path";
import { PacelineError } from "../errors.js";

/** One problem and its place. */
export interface Problem {
  /** The file's absolute path; absent for a problem of the command line. */
  file?: string;
  /** The key's path, such as `["pools", "web", "instances"]`; empty for the file as a whole. */
  path: (string | number)[];
  /** The line in the file, from 1. */
  line?: number;
  message: string;
}

/** The configuration is invalid. The code is `config`; the message has one line per problem. */
export class ConfigError extends PacelineError {
  readonly problems: Problem[];

  constructor(problems: Problem[], options?: { cause?: unknown }) {
    super("config", problems.map((problem) => formatProblem(problem)).join("\n"), options);
    this.problems = problems;
  }
}

/** Returns `paceline.toml:12: pools.web.instances: must be …`. Paths under `cwd` are relative to it. */
function formatProblem(problem: Problem, cwd: string = process.cwd()): string {
  const where = [];
  if (problem.file !== undefined) {
    const seen = relative(cwd, problem.file);
    const file = seen === "" || seen.startsWith("..") ? problem.file : seen;
    where.push(problem.line === undefined ? file : `${file}:${problem.line}`);
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
