/** The files that `paceline import` reads, by name, and what the importers need to know of the project around them. */
import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, extname, join, resolve } from "node:path";
import { parseEnv } from "node:util";
import { readRegularFile } from "@paceline/wire";
import { entryKindOf, whyNoApp } from "../config/find.js";
import { loadExport } from "../config/load.js";
import { findProgram } from "../config/paths.js";
import { ConfigError } from "../config/problems.js";
import { PacelineError } from "../errors.js";
import { GUNICORN_RULES, importGunicorn } from "./gunicorn.js";
import { importPm2 } from "./pm2.js";
import { importHeroku } from "./procfile.js";
import type { Imported, Keys, ProjectFacts } from "./rules.js";

interface ImportOptions {
  only?: string[] | undefined;
  env?: string | undefined;
  app?: string | undefined;
  python?: string | undefined;
  timeoutMs?: number | undefined;
}

interface Source {
  /** Matches the names of files that it reads. */
  reads: RegExp;
  read(file: string, options: ImportOptions): Promise<Imported>;
}

/** In the order in which they are tried. The last one takes any other JSON, YAML or module. */
const SOURCES: readonly Source[] = [
  { reads: /^Procfile(\.\w+)?$/, read: readProcfile },
  { reads: /^app\.json$/, read: readAppJson },
  { reads: /\.py$/, read: readGunicorn },
  { reads: /\.(c|m)?js$|\.json5?$|\.ya?ml$/, read: readPm2 },
];

/** The files that are searched for in a folder, in order of preference. */
export const IMPORTED_FILE_NAMES = [
  ...["js", "cjs", "mjs", "json", "yml", "yaml"].map((extension) => `ecosystem.config.${extension}`),
  ...["ecosystem.json", "process.json", "process.yml", "pm2.config.js", "pm2.json"],
  ...["gunicorn.conf.py", "Procfile", "app.json"],
];

const NO_FILE = {
  nothing: "there is no such file",
  folder: "is a folder: name a file in it",
  other: "is not a regular file",
};

/**
 * Returns the config `file` of another program in Paceline's keys.
 * @throws ConfigError, PacelineError
 */
export async function importFile(file: string, options: ImportOptions): Promise<Imported> {
  const kind = entryKindOf(file);
  if (kind !== "file") throw new ConfigError([{ file, path: [], message: NO_FILE[kind] }]);
  const source = SOURCES.find(({ reads }) => reads.test(basename(file)));
  if (source === undefined) {
    const message = `is not one of ${IMPORTED_FILE_NAMES.join(", ")}`;
    throw new ConfigError([{ file, path: [], message }]);
  }
  const unused = (["env", "only"] as const).find((name) => options[name] !== undefined);
  if (unused !== undefined && source.read !== readPm2)
    throw new PacelineError("usage", `--${unused} is for an ecosystem file of PM2, not for ${basename(file)}`);
  try {
    return await source.read(file, options);
  } catch (error) {
    if (error instanceof PacelineError) throw error;
    // YAML's message goes on with an excerpt of the file.
    const [message = ""] = (error as Error).message.split(/:?\n\n/);
    throw new ConfigError([{ file, path: [], message }], { cause: error });
  }
}

async function readPm2(file: string, { only, env, timeoutMs }: ImportOptions): Promise<Imported> {
  return importPm2(await readDocument(file, timeoutMs), factsOf(dirname(file)), { only, envName: env });
}

/** Modules, and JSON files (which PM2 evaluates), run in a short-lived process, like Paceline's own configs. */
async function readDocument(file: string, timeoutMs: number | undefined): Promise<unknown> {
  switch (extname(file)) {
    case ".yml":
    case ".yaml":
      return (await import("yaml")).parse(readText(file));
    default: {
      const environment = process.env as Record<string, string>;
      return loadExport(file, { cwd: dirname(file), environment, ...(timeoutMs !== undefined && { timeoutMs }) });
    }
  }
}

async function readProcfile(file: string): Promise<Imported> {
  const procfile = { procfile: readText(file), name: basename(file) };
  return importHeroku({ ...procfile, envFiles: envFilesOf(dirname(file)) }, factsOf(dirname(file)));
}

async function readAppJson(file: string): Promise<Imported> {
  const folder = dirname(file);
  const procfile = join(folder, "Procfile");
  const text = entryKindOf(procfile) === "file" ? readText(procfile) : undefined;
  const appJson = JSON.parse(readText(file)) as unknown;
  return importHeroku({ procfile: text, appJson, envFiles: envFilesOf(folder) }, factsOf(folder));
}

/** foreman and heroku local read .env. */
function envFilesOf(folder: string): string[] {
  return entryKindOf(join(folder, ".env")) === "file" ? [".env"] : [];
}

async function readGunicorn(file: string, { app, python, timeoutMs }: ImportOptions): Promise<Imported> {
  const folder = dirname(file);
  const names = Object.keys(GUNICORN_RULES);
  const interpreter = findProgram(python ?? "python3", folder, process.env.PATH ?? "");
  if (typeof interpreter !== "string") throw new Error(`needs Python: ${interpreter.problem}`);
  const settings = await runPython(interpreter, [file, ...names], {
    cwd: folder,
    timeoutMs: timeoutMs ?? PYTHON_TIMEOUT_MS,
  });
  return importGunicorn(settings, app, (path) => entryKindOf(join(folder, path)) === "file");
}

const PYTHON_TIMEOUT_MS = 20_000;
const MAX_SETTINGS_BYTES = 1 << 20;

/** Executes the file as gunicorn does, and prints its settings as JSON on fd 3. A function is represented by its type. */
const PYTHON = `
import importlib.util, json, os, sys
path, known = sys.argv[1], sys.argv[2:]
sys.path.insert(0, os.getcwd())
spec = importlib.util.spec_from_file_location("__config__", path)
module = importlib.util.module_from_spec(spec)
sys.modules["__config__"] = module
spec.loader.exec_module(module)
def plain(value):
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, set)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return "<" + type(value).__name__ + ">"
simple = (bool, int, float, str, list, tuple, set, dict)
settings = {name: plain(value) for name, value in vars(module).items() if name in known}
# Perhaps a setting with a mistake in its name, or a variable of the file's own.
settings.update((name, None) for name, value in vars(module).items() if name not in known and not name.startswith("_") and isinstance(value, simple))
with os.fdopen(3, "w") as out:
    json.dump(settings, out)
`;

/** @throws Error if it fails, or takes too long */
function runPython(
  python: string,
  args: string[],
  { cwd, timeoutMs }: { cwd: string; timeoutMs: number },
): Promise<Keys> {
  return new Promise((done, fail) => {
    // -B: no `__pycache__` beside the user's files.
    const child = spawn(python, ["-B", "-c", PYTHON, ...args], { cwd, stdio: ["ignore", 2, "pipe", "pipe"] });
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      fail(new PacelineError("timeout", `${args[0]}: did not finish within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    let [text, errors] = ["", ""];
    const [, , stderr, output] = child.stdio;
    stderr?.on("error", () => {}).on("data", (part) => (errors = (errors + part).slice(-MAX_SETTINGS_BYTES)));
    output
      ?.on("error", () => {})
      .on("data", (part: Buffer) => {
        text += part;
        if (text.length > MAX_SETTINGS_BYTES) child.kill("SIGKILL");
      });
    child.on("error", (error) => {
      clearTimeout(timer);
      fail(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) done(JSON.parse(text) as Keys);
      else fail(new Error(`raised ${errors.trimEnd().split("\n").at(-1) || (signal ?? `exit status ${code}`)}`));
    });
  });
}

/** Returns what the importers need to know of the project in `folder`. */
function factsOf(folder: string): ProjectFacts {
  const at = (path: string) => resolve(folder, path);
  return {
    cpus: availableParallelism(),
    environment: process.env,
    look: (path) => entryKindOf(at(path)),
    isText: (path) => !readHead(at(path)).includes(0),
    portIn: (path) => Number(parseEnv(readText(at(path))).PORT) || undefined,
    isModule: (path) => whyNoApp(at(path)) === undefined,
    scan: (path) => scanSources(at(path)),
  };
}

/** The maximum size of a file that is read whole, in bytes. */
const MAX_TEXT_BYTES = 4 << 20;
const HEAD_BYTES = 512;

/** @throws Error if it is not a regular file, or is too large */
function readText(path: string): string {
  return readRegularFile(path, { maxBytes: MAX_TEXT_BYTES }).toString();
}

function readHead(path: string): Buffer {
  return readRegularFile(path, { maxBytes: HEAD_BYTES, onlyHead: true });
}

/** A program that is larger or has more files counts as serving. */
const MAX_FILES = 50;
const MAX_BYTES = 1 << 20;

const SERVES =
  /\.listen\s*\(|\bBun\.serve\b|\bDeno\.serve\b|\bexport\s+default\b|\bcreateServer\b|\bserve\s*\(|NestFactory|\bfetch\s*\(\s*req|module\.exports\s*=\s*(app|server|async|function|\()/;
const PORT =
  /\bPORT\b["'\]]*\s*(?:\|\||\?\?)\s*["']?(\d{2,5})\b|\.listen\s*\(\s*(\d{2,5})\b|\bport\s*[:=]\s*(\d{2,5})\b/;
const LOCAL = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)["'](\.{1,2}\/[^"']*)["']/g;
const ENDINGS = ["", ".js", ".ts", ".mjs", ".cjs", "/index.js", "/index.ts"];

/**
 * Searches the sources of a JavaScript program for signs that it serves HTTP, and for its port. Follows relative imports from `entry`. A
 * file that cannot be read counts as serving, because the app's own error is clearer.
 */
export function scanSources(entry: string): { serves: boolean; port?: number } {
  const queue = [entry];
  const seen = new Set(queue);
  let serves = false;
  for (const path of queue) {
    const text = read(path);
    if (text === undefined) return { serves: true };
    serves ||= SERVES.test(text);
    const [, ...ports] = PORT.exec(text) ?? [];
    const port = Number(ports.find((each) => each !== undefined));
    if (port > 0 && port < 65_536) return { serves: true, port };
    for (const [, specifier = ""] of text.matchAll(LOCAL)) {
      const next = ENDINGS.map((ending) => join(dirname(path), specifier) + ending).find(isFile);
      if (next === undefined || seen.has(next)) continue;
      if (seen.size >= MAX_FILES) return { serves: true };
      seen.add(next);
      queue.push(next);
    }
  }
  return { serves };
}

function read(path: string): string | undefined {
  try {
    return readRegularFile(path, { maxBytes: MAX_BYTES }).toString();
  } catch {
    return undefined;
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
