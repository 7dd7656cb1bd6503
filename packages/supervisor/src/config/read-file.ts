/** Reads a config file of any type: data with the line of each key, or a module that runs in this process. */

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { extname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { readRegularFile } from "@paceline/wire";
import type { JitiOptions } from "jiti";
import * as jsonc from "jsonc-parser";
import { parse as parseToml, TomlError } from "smol-toml";
import { ConfigError, findUnsupported, isUnsupported, MAX_EARLY_PROBLEMS, type Problem } from "./problems.js";
import { tomlLines } from "./toml-lines.js";

/** The argument of the function that a config module exports. */
export interface ConfigContext {
  /** NODE_ENV. If it is not set: `development` under `--watch`, otherwise `production`. By default, the app's NODE_ENV is the same. */
  mode: string;
  /** The environment of the start. */
  env: Record<string, string | undefined>;
}

export interface ConfigDocument {
  value: unknown;
  /** Returns the line of a key, from 1; undefined if unknown. */
  lineOf(path: (string | number)[]): number | undefined;
  /** Why some lines cannot be read; `value` has the keys of the others. */
  problems?: Problem[];
  /** Problems of single keys, which do not affect the others. */
  faults?: Problem[];
}

/** The maximum size of a config in JSON or TOML, in bytes. */
const MAX_TEXT_BYTES = 4 << 20;

const noLine = () => undefined;

/**
 * Returns the unvalidated content of `file`.
 * @throws ConfigError if it cannot be read or parsed, or if a module throws
 */
export async function readConfigFile(file: string, context: ConfigContext): Promise<ConfigDocument> {
  switch (extname(file)) {
    case ".json":
      return parseJson(file, readText(file));
    case ".toml":
      return readToml(file, readText(file));
    default:
      return { ...(await importConfig(file, context)), lineOf: noLine };
  }
}

function readText(file: string): string {
  try {
    return readRegularFile(file, { maxBytes: MAX_TEXT_BYTES })
      .toString()
      .replace(/^\uFEFF/, "");
  } catch (error) {
    const message = `cannot be read: ${(error as Error).message}`;
    throw new ConfigError([{ file, path: [], message }], { cause: error });
  }
}

function parseJson(file: string, text: string): ConfigDocument {
  const errors: jsonc.ParseError[] = [];
  const options = { disallowComments: true, allowTrailingComma: false };
  const tree = jsonc.parseTree(text, errors, options);
  // The first error of a line causes the others.
  const byLine = new Map<number, Problem>();
  for (const { error, offset } of errors) {
    const line = lineAt(text, offset);
    const what = jsonc.printParseErrorCode(error).replace(/(?<=.)[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    const message = `is not valid JSON: ${what.toLowerCase()}`;
    if (!byLine.has(line) && byLine.size < MAX_EARLY_PROBLEMS) byLine.set(line, { file, path: [], line, message });
  }
  if (byLine.size > 0) throw new ConfigError([...byLine.values()]);
  const faults = (tree === undefined ? [] : repeatedKeys(tree)).slice(0, MAX_EARLY_PROBLEMS).map((key): Problem => {
    const message = `has the key ${JSON.stringify(key.value)} twice in one table`;
    return { file, path: [], line: lineAt(text, key.offset), message };
  });
  const lineOf = (path: (string | number)[]) => {
    const find = (at: (string | number)[]) => (tree === undefined ? undefined : jsonc.findNodeAtLocation(tree, at));
    // A list may be written as its only item.
    const node = find(path) ?? (typeof path.at(-1) === "number" ? find(path.slice(0, -1)) : undefined);
    return node === undefined ? undefined : lineAt(text, node.offset);
  };
  return { value: JSON.parse(text), lineOf, faults };
}

/** Returns the keys that their table has already. Of two equal keys, removes the first one from the tree, as `JSON.parse` does. */
function repeatedKeys({ type, children = [] }: jsonc.Node): jsonc.Node[] {
  const known = new Map<unknown, jsonc.Node>();
  const repeated: jsonc.Node[] = [];
  for (const child of [...children]) {
    const key = type === "object" ? child.children?.[0] : undefined;
    if (key !== undefined) {
      const before = known.get(key.value);
      if (before !== undefined) {
        repeated.push(key);
        children.splice(children.indexOf(before), 1);
      }
      known.set(key.value, child);
    }
    repeated.push(...repeatedKeys(child));
  }
  return repeated;
}

/** Reads the document without the lines that cannot be read, as long as these lines do not affect others. */
function readToml(file: string, text: string): ConfigDocument {
  const problems: Problem[] = [];
  const lines = text.split("\n");
  for (;;) {
    try {
      const rest = lines.join("\n");
      return { value: parseToml(rest), lineOf: tomlLines(rest), problems };
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      // The library's message continues with an excerpt of the file.
      const what = error.message.split("\n")[0]?.replace(/^Invalid TOML document: /, "");
      problems.push({ file, path: [], line: error.line, message: `is not valid TOML: ${what}` });
      if (problems.length >= MAX_EARLY_PROBLEMS || !isAlone(lines[error.line - 1] ?? "", what ?? ""))
        throw new ConfigError(problems, { cause: error });
      lines[error.line - 1] = "";
    }
  }
}

/**
 * Whether the rest of the document can be read without this line. It can if the line is one key with its value, and the error is in this
 * line alone.
 */
function isAlone(line: string, problem: string): boolean {
  if (!/^\s*[\w."'-]+\s*=/.test(line) || /"""|'''/.test(line)) return false;
  const count = (brackets: RegExp) => line.match(brackets)?.length ?? 0;
  if (count(/[[{]/g) !== count(/[\]}]/g)) return false;
  if (/redefine/.test(problem)) return true;
  try {
    parseToml(line);
    return false;
  } catch {
    return true;
  }
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

/** The maximum size of a config as JSON, in bytes. */
const MAX_CONFIG_BYTES = 1 << 20;

/**
 * Returns the contents of another program's config file, after a round trip through JSON: the default export of a module, or otherwise the
 * named ones. A file named .json may contain any expression, as in PM2: with comments, names without quotes, trailing commas.
 * @throws ConfigError if the file throws, or contains values that JSON cannot represent
 */
export async function readForeignConfig(file: string): Promise<unknown> {
  const { value, faults } = await importConfig(file, undefined, async () => {
    if (/\.json5?$/.test(file)) return evaluate(file, readText(file));
    const { default: given, ...named } = await importModule(file);
    return given ?? named;
  });
  if (faults.length > 0) throw new ConfigError(faults);
  return value;
}

async function evaluate(file: string, text: string): Promise<unknown> {
  const { runInThisContext } = await import("node:vm");
  try {
    return runInThisContext(`(${text}\n)`, { filename: file });
  } catch (cause) {
    throw new ConfigError([{ file, path: [], message: `is no JSON: ${(cause as Error).message}` }], { cause });
  }
}

/**
 * Returns the default export of the module `file` after a round trip through JSON; values that JSON cannot represent are faults.
 * @throws ConfigError if the module throws
 */
async function importConfig(
  file: string,
  context?: ConfigContext,
  read: () => Promise<unknown> = async () => (await importModule(file)).default,
): Promise<{ value: unknown; faults: Problem[] }> {
  const fail = (message: string) => new ConfigError([{ file, path: [], message }]);
  let json: string | undefined;
  let faults: Problem[] = [];
  try {
    let config = await read();
    if (typeof config === "function") config = await config(context);
    const value = await config;
    faults = findUnsupported(value, []).map((problem) => ({ file, ...problem }));
    // The whole value is wrong.
    if (faults.some(({ path }) => path.length === 0)) throw new ConfigError(faults);
    json = JSON.stringify(value, (_, each) => (isUnsupported(each) ? null : each));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const place = syntaxErrorPlace(error, file);
    if (place === undefined) throw fail(`threw ${describe(error)}`);
    const { message, ...where } = place;
    throw new ConfigError([{ ...where, path: [], message: `syntax error: ${message}` }], { cause: error });
  }
  if (json === undefined) throw fail("has no default export");
  if (Buffer.byteLength(json) > MAX_CONFIG_BYTES) throw fail(`exports more than ${MAX_CONFIG_BYTES} bytes`);
  return { value: JSON.parse(json), faults };
}

type Exports = Record<string, unknown>;

async function importModule(file: string): Promise<Exports> {
  const needsJiti = process.versions.bun === undefined && /\.[cm]?ts$/.test(file);
  try {
    return needsJiti ? await importWithJiti(file) : ((await import(pathToFileURL(file).href)) as Exports);
  } catch (error) {
    if (!/^Cannot find (package|module) 'paceline'/.test((error as Error)?.message)) throw error;
    // Paceline may be installed elsewhere, for example globally. The config gets the package that is running.
    const alias = { paceline: createRequire(import.meta.url).resolve("paceline") };
    return importWithJiti(file, { alias, tryNative: false });
  }
}

async function importWithJiti(file: string, options: JitiOptions = {}): Promise<Exports> {
  const { createJiti } = await import("jiti");
  const jiti = createJiti(file, { fsCache: false, moduleCache: false, tsconfigPaths: true, ...options });
  return (await jiti.import(file)) as Exports;
}

/** How long Node may take to parse a file, in milliseconds. */
const PARSE_TIMEOUT_MS = 5000;

/** Returns the position and the message of a syntax error in a module; undefined for any other error. */
function syntaxErrorPlace(error: unknown, file: string): Required<Omit<Problem, "path">> | undefined {
  const { message: text = "" } = (error ?? {}) as { message?: string };
  // jiti counts columns from 0.
  const ofJiti = /^ParseError: (.*?)\s*\n\s*(\/.*):(\d+):(\d+)$/.exec(text);
  if (ofJiti !== null) {
    const [, message = "", path = file, line, column] = ofJiti;
    return { file: path, line: Number(line), column: Number(column) + 1, message };
  }
  if (process.versions.bun !== undefined) {
    const [first = error] = error instanceof AggregateError ? (error.errors as unknown[]) : [];
    const { message, position } = (first ?? {}) as {
      message: string;
      position?: Required<Omit<Problem, "path">> | null;
    };
    if (typeof position?.line !== "number") return undefined;
    return { file: position.file, line: position.line, column: position.column, message };
  }
  if (!(error instanceof SyntaxError)) return undefined;
  // Node does not expose the position in an ES module before it prints the error.
  const printed = () =>
    spawnSync(process.execPath, ["--check", file], { encoding: "utf8", timeout: PARSE_TIMEOUT_MS }).stderr ?? "";
  return placeIn(error.stack ?? "", error.message) ?? placeIn(printed(), error.message);
}

/** Parses the text that Node prints before a syntax error: `FILE:LINE`, the line, and marks below the wrong part. */
function placeIn(text: string, message: string): Required<Omit<Problem, "path">> | undefined {
  const match = /^(\/.*|file:\/\/.*):(\d+)\n.*\n( *)\^/.exec(text);
  if (match === null) return undefined;
  const [, place = "", line, indent = ""] = match;
  const file = place.startsWith("file:") ? fileURLToPath(place) : place;
  return { file, line: Number(line), column: indent.length + 1, message };
}

function describe(error: unknown): string {
  if (error instanceof Error) return error.stack?.includes(error.message) ? error.stack : String(error);
  return JSON.stringify(error) ?? String(error);
}
