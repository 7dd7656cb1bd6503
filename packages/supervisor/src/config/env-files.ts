/** Reads env files: `NAME=value` lines as Node's parser reads them, except that an invalid line is a problem with its position. */
import { resolve } from "node:path";
import { parseEnv } from "node:util";
import { readRegularFile } from "@paceline/wire";
import type { FindingPlace } from "./validate.js";

/** The maximum size of an env file, in bytes. */
const MAX_BYTES = 4 << 20;
/** The maximum number of problems that are reported for a file. If a file is of another type, each of its lines has one. */
const MAX_PROBLEMS = 20;
const NOTHING = /^\s*(#.*)?$/s;
const VARIABLE = /^\s*(?:export\s+)?([^\s=#][^\s=]*)\s*=\s*(.*)$/s;

interface EnvLine {
  name: string;
  value: string;
  /** From 1. */
  line: number;
}

/** Returns the variables in the order of the file, and the invalid lines. No message contains a line's text, because it may be a secret. */
export function readEnvLines(text: string): { variables: EnvLine[]; problems: { line: number; message: string }[] } {
  const variables: EnvLine[] = [];
  const problems: { line: number; message: string }[] = [];
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  for (let at = 0; at < lines.length && problems.length < MAX_PROBLEMS; at++) {
    const first = lines[at] ?? "";
    if (NOTHING.test(first)) continue;
    const line = at + 1;
    const [, name, value = ""] = VARIABLE.exec(first) ?? [];
    if (name === undefined) {
      problems.push({ line, message: "must be NAME=value, or a comment after #" });
      continue;
    }
    const [quote = ""] = /^["'`]/.exec(value) ?? [];
    let entry = value;
    if (quote !== "") {
      // A value in quotes may have several lines.
      let last = at;
      let rest: string | undefined = value.slice(1);
      while (rest !== undefined && !rest.includes(quote)) rest = lines[++last];
      if (rest === undefined) {
        problems.push({ line, message: `${name}: the ${quote} before its value is not closed` });
        continue;
      }
      if (!NOTHING.test(rest.slice(rest.indexOf(quote) + 1))) {
        const where = last === at ? "" : ` in line ${last + 1}`;
        problems.push({ line, message: `${name}: text follows the closing ${quote}${where}` });
        continue;
      }
      entry = [value, ...lines.slice(at + 1, last + 1)].join("\n");
      at = last;
    }
    variables.push({ name, value: parseEnv(`V=${entry}`).V ?? "", line });
  }
  return { variables, problems };
}

interface EnvironmentSource {
  baseDir: string;
  /** Later files override earlier ones. */
  files: { file: string; path: (string | number)[] }[];
  variables: Record<string, string>;
  /** The names of variables that are secrets. Their values are not passed here. */
  secrets: object;
  /** The key path of `variables`. */
  path: (string | number)[];
  report(path: (string | number)[], message: string, place?: FindingPlace): void;
}

/** Reads the environment that a pool's config sets for its instances: env files, then variables. */
export function readEnvironment(source: EnvironmentSource): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const { file: given, path } of source.files) {
    const file = resolve(source.baseDir, given);
    let text: string;
    try {
      text = readRegularFile(file, { maxBytes: MAX_BYTES }).toString();
    } catch (error) {
      source.report(path, `cannot be read: ${(error as Error).message}`);
      continue;
    }
    const { variables, problems } = readEnvLines(text);
    for (const { line, message } of problems) source.report(path, message, { file, line });
    for (const { name, value, line } of variables) {
      const problem = whatIsWrong(name, value);
      if (problem !== undefined) source.report(path, `${name}: ${problem}`, { file, line });
      environment[name] = value;
    }
  }
  Object.assign(environment, source.variables);
  for (const [name, value] of Object.entries(source.variables)) {
    const problem = whatIsWrong(name, value);
    if (problem !== undefined) source.report([...source.path, name], problem);
  }
  for (const name of Object.keys(source.secrets)) {
    const problem = whatIsWrong(name, "");
    if (problem !== undefined) source.report([...source.path, name], problem);
    // A secret of a pool replaces a text of the top level, and a value from an env file.
    delete environment[name];
  }
  return environment;
}

function whatIsWrong(name: string, value: string): string | undefined {
  if (name.startsWith("PACELINE_")) return "names that begin with PACELINE_ are reserved for Paceline";
  if (name === "" || /[=\0]/.test(name)) return "is not a valid name of an environment variable";
  if (value.includes("\0")) return "must not contain a NUL";
  return undefined;
}
