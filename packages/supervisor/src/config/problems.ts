/** What is wrong with a configuration, all of it at once, as one error that people and programs can read. */
import { relative } from "node:path";
import { PacelineError } from "../errors.js";

/** One thing that is wrong, and where. */
export interface Problem {
  /** The file's absolute path; absent when it came from the command line. */
  file?: string;
  /** The key's path, such as `["pools", "web", "instances"]`; empty for the file as a whole. */
  path: (string | number)[];
  /** Where the text tells it; from 1. */
  line?: number;
  message: string;
}

/** The configuration cannot be used. Its code is `config`; its message has a line for each problem. */
export class ConfigError extends PacelineError {
  readonly problems: Problem[];

  constructor(problems: Problem[], options?: { cause?: unknown }) {
    super("config", problems.map((problem) => formatProblem(problem)).join("\n"), options);
    this.problems = problems;
  }
}

/** `paceline.toml:12: pools.web.instances: must be …`; a file under `cwd` is shown from there. */
export function formatProblem(problem: Problem, cwd: string = process.cwd()): string {
  const where = [];
  if (problem.file !== undefined) {
    const seen = relative(cwd, problem.file);
    const file = seen === "" || seen.startsWith("..") ? problem.file : seen;
    where.push(problem.line === undefined ? file : `${file}:${problem.line}`);
  }
  if (problem.path.length > 0) where.push(formatKeyPath(problem.path));
  return [...where, problem.message].join(": ");
}

/** `listen[1]`, `pools.web.env.A`; a part that is no plain name is quoted. */
export function formatKeyPath(path: (string | number)[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[\w-]+$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}
