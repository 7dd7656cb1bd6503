/** Finds the source of a fleet: a config file, an app module, or a folder with one. Has hints for Python files. */
import { lstatSync, readdirSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { readRegularFile } from "@paceline/wire";
import { ConfigError } from "./problems.js";

/** In order of preference. */
export const CONFIG_FILE_NAMES = [
  "paceline.config.ts",
  "paceline.config.js",
  "paceline.config.mjs",
  "paceline.config.json",
  "paceline.toml",
];

/** The app files of a folder without a config file, in order of preference. */
export const APP_FILE_NAMES = ["app", "index", "server"].flatMap((name) => [`${name}.ts`, `${name}.js`, `${name}.mjs`]);

/** Where the configuration comes from. Files and folders are absolute paths; a Python app is named as in the config. */
export type FleetSource =
  | { kind: "config"; file: string }
  | { kind: "app"; app: string }
  | { kind: "static"; folder: string }
  | { kind: "fapws"; script: string }
  /** A Python app, named as in the config; files are relative to the folder. */
  | { kind: "wsgi" | "asgi"; app: string; folder: string }
  | { kind: "command"; command: string[]; folder: string }
  /** A module, relative to the folder, or a program with its arguments. */
  | { kind: "worker"; worker: string | string[]; cron?: string; folder: string }
  | { kind: "proxy"; url: string; folder: string }
  /** A configuration that a program passed as a value; `name` distinguishes it from others of the same folder. */
  | { kind: "object"; config: object; name: string; folder: string };

/** Returns the folder from which relative paths of a source start, as written. */
export function folderOf(source: FleetSource, cwd: string): string {
  return source.kind === "config" ? dirname(source.file) : cwd;
}

/** Returns the path of a source, for messages. */
export function placeOf(source: FleetSource): string {
  switch (source.kind) {
    case "config":
      return source.file;
    case "app":
      return source.app;
    case "static":
      return source.folder;
    case "fapws":
      return source.script;
    case "wsgi":
    case "asgi":
      return resolve(source.folder, source.app);
    case "command":
      return pathOfText(source.folder, source.command.join(" "));
    case "worker":
      return typeof source.worker === "string"
        ? resolve(source.folder, source.worker)
        : pathOfText(source.folder, source.worker.join(" "));
    case "proxy":
      return pathOfText(source.folder, source.url);
    case "object":
      return pathOfText(source.folder, source.name);
    default:
      return source satisfies never;
  }
}

/** Returns a name within a folder for a source that is not a file, such as a command, an address or an object. */
function pathOfText(folder: string, text: string): string {
  return join(folder, text.replaceAll("/", "%2F"));
}

/**
 * Returns the source for a folder of files without a configuration.
 * @throws ConfigError if there is no such folder
 */
export function staticSource(folder: string, cwd: string): FleetSource {
  const path = resolve(cwd, folder);
  if (entryKindOf(path) === "folder") return { kind: "static", folder: path };
  throw new ConfigError([{ file: path, path: [], message: "there is no such folder" }]);
}

/**
 * Returns the source for a worker without a configuration: a module, or a program with its arguments.
 * @throws ConfigError if the module is not named or missing
 */
export function workerSource(
  worker: string | string[] | undefined,
  cron: string | undefined,
  cwd: string,
): FleetSource {
  const source = (named: string | string[]): FleetSource => ({
    ...{ kind: "worker", worker: named, folder: cwd },
    ...(cron !== undefined && { cron }),
  });
  if (Array.isArray(worker)) return source(worker);
  const path = resolve(cwd, worker ?? ".");
  const kind = entryKindOf(path);
  if (kind === "file" && worker !== undefined) return source(worker);
  const message =
    kind === "folder"
      ? "a worker needs a module, as in `paceline start --worker queue.js`, or a program after --"
      : "there is no such file";
  throw new ConfigError([{ file: path, path: [], message }]);
}

/**
 * Returns the source for a FAPWS start script without a configuration.
 * @throws ConfigError if there is no such file
 */
export function fapwsSource(script: string, cwd: string): FleetSource {
  const path = resolve(cwd, script);
  if (entryKindOf(path) === "file") return { kind: "fapws", script: path };
  throw new ConfigError([{ file: path, path: [], message: "there is no such file" }]);
}

/**
 * Returns the source that `target` names: a path, by default the working directory. A file is an app, unless it has the name of a
 * config file or ends in .json or .toml.
 * @throws ConfigError if there is no such file, or nothing usable in the folder
 */
export function findSource(target: string | undefined, cwd: string): FleetSource {
  const path = resolve(cwd, target ?? ".");
  const kind = entryKindOf(path);
  if (kind === "file") {
    if (OF_OTHERS.test(basename(path))) {
      const message = `is the configuration of another program; run: paceline import ${target}`;
      throw new ConfigError([{ file: path, path: [], message }]);
    }
    const named = namedSource(path);
    if (named.kind === "config") return named;
    const problem = hintOnPythonFile(target ?? "", path) ?? whyNoApp(path);
    if (problem !== undefined) throw new ConfigError([{ file: path, path: [], message: problem }]);
    return named;
  }
  if (kind === "other") throw new ConfigError([{ file: path, path: [], message: NOT_A_FILE }]);
  if (kind === "nothing") {
    const message = hintOnCallable(target ?? "", cwd) ?? "there is no such file or folder";
    throw new ConfigError([{ file: path, path: [], message }]);
  }
  const file = findConfigFile(path);
  if (file !== undefined) return configSource(file);
  const other = findOtherConfig(path);
  if (other !== undefined) {
    const message = `is not read: a config file is named ${CONFIG_FILE_NAMES.join(", ")}`;
    throw new ConfigError([{ file: other, path: [], message }]);
  }
  const app = findApp(path);
  if (app !== undefined) return { kind: "app", app };
  const message = `has no config file (${CONFIG_FILE_NAMES.join(", ")}) and no app (${APP_FILE_NAMES.join(", ")})${hintOnFolder(path, target)}`;
  throw new ConfigError([{ file: path, path: [], message }]);
}

/** Returns what else in a folder can be started. */
function hintOnFolder(path: string, target = "."): string {
  const has = (name: string) => entryKindOf(join(path, name)) === "file";
  if (has("package.json")) return `; it has a package.json: run paceline init${target === "." ? "" : ` ${target}`}`;
  return has("index.html") ? `; to serve its files: paceline start --static ${target}` : "";
}

/** Returns the entry that is named as the config file of `folder`, even if it is not a file; undefined without one. */
export function findConfigFile(folder: string): string | undefined {
  return CONFIG_FILE_NAMES.map((name) => join(folder, name)).find(hasEntry);
}

/** Returns a warning for each config in the folder `target` that is ignored because of `source`. */
export function unreadConfigs(target: string, source: FleetSource): string[] {
  if (source.kind !== "config" || entryKindOf(target) !== "folder") return [];
  const read = basename(source.file);
  const others = CONFIG_FILE_NAMES.filter((name) => name !== read && hasEntry(join(dirname(source.file), name)));
  return others.map((name) => `${name} is not read: ${read} in the same folder comes first`);
}

/** Whether the folder of `path` has such an entry, including a broken symbolic link. */
export function hasEntry(path: string): boolean {
  return statOf(path, lstatSync) !== undefined;
}

/**
 * Returns the source for an entry with the name of a config.
 * @throws ConfigError if it is not a file, because the config must not be ignored silently
 */
export function configSource(file: string): FleetSource {
  const kind = entryKindOf(file);
  if (kind === "file") return { kind: "config", file };
  const what = {
    nothing: "is a symbolic link that leads to no file",
    folder: "is a folder, and not a config file",
    other: "is not a regular file",
  };
  throw new ConfigError([{ file, path: [], message: what[kind] }]);
}

/** A config name whose format or extension is not supported. */
const OTHER_CONFIG = /^paceline(?:\.config\.(?:[cm]?[jt]sx?|json[c5]?|ya?ml|toml)|\.(?:json[c5]?|ya?ml))$/;

/** Returns a file of `folder` that its author probably takes for a config, but that would be ignored silently. */
function findOtherConfig(folder: string): string | undefined {
  const name = readdirSync(folder).find((each) => OTHER_CONFIG.test(each) && !CONFIG_FILE_NAMES.includes(each));
  return name === undefined ? undefined : join(folder, name);
}

/** Returns the app module of `folder`, or undefined. */
export function findApp(folder: string): string | undefined {
  return APP_FILE_NAMES.map((name) => join(folder, name)).find((path) => entryKindOf(path) === "file");
}

/** Files that `paceline import` reads. */
export const OF_OTHERS =
  /^(?:(?:ecosystem|pm2)(?:\.\w+)?\.(?:[cm]?js|json5?|ya?ml)|process\.(?:json|ya?ml)|gunicorn\.conf\.py|Procfile|app\.json)$/;

/** Returns the kind of a file by its name alone. */
export function namedSource(path: string): FleetSource {
  return isConfigFile(path) ? { kind: "config", file: path } : { kind: "app", app: path };
}

function isConfigFile(path: string): boolean {
  return basename(path).includes("paceline.config.") || isData(path);
}

/** Whether a config file is data rather than code, by its name. */
export function isData(path: string): boolean {
  return /\.(json|toml)$/.test(path);
}

/** Returns why the file `path` cannot be an app, by its name or its first line; undefined if it can. */
export function whyNoApp(path: string): string | undefined {
  const name = basename(path);
  if (/\.config\.[cm]?[jt]s$/.test(name) && !name.includes("paceline.config."))
    return `is the configuration of another program; Paceline's is ${CONFIG_FILE_NAMES.join(", ")}`;
  if (/\.[cm]?[jt]sx?$/.test(name)) return undefined;
  // As in `bin/www` of express-generator.
  if (!name.includes(".") && /^#!.*\b(?:node|bun)\b/.test(readHead(path))) return undefined;
  if (name.endsWith(".py")) return "is Python: set `wsgi` or `asgi` to its callable, or `fapws` to a FAPWS script";
  return `is neither an app (a JavaScript or TypeScript module) nor a config (${CONFIG_FILE_NAMES.join(", ")})`;
}

/** Returns the type of the file at `path`; follows symbolic links. */
export function entryKindOf(path: string): "file" | "folder" | "nothing" | "other" {
  const stat = statOf(path);
  if (stat === undefined) return "nothing";
  if (stat.isDirectory()) return "folder";
  return stat.isFile() ? "file" : "other";
}

/** The errors of paths that do not exist: through a file, through a link to itself, or too long. */
const LEADS_NOWHERE = new Set(["ENOTDIR", "ELOOP", "ENAMETOOLONG"]);

function statOf(path: string, stat: typeof statSync | typeof lstatSync = statSync): Stats | undefined {
  try {
    return stat(path, { throwIfNoEntry: false });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (LEADS_NOWHERE.has(code)) return undefined;
    if (code !== "EACCES") throw error;
    const message = `this user (uid ${process.geteuid?.()}) may not open a folder on the way to it`;
    throw new ConfigError([{ file: path, path: [], message }], { cause: error });
  }
}

/** The message for a named pipe, a device or a socket: reading one may block forever. */
export const NOT_A_FILE = "is neither a regular file nor a folder";

const MAX_BYTES = 64 << 10;

/** Patterns that show a Python file's kind and the name of its callable. */
const SIGNS: readonly (readonly [RegExp, "wsgi" | "asgi"])[] = [
  [/^(\w+)(?:\s*:[^=\n]*)?\s*=\s*(?:\w+\.)*(?:FastAPI|Starlette|Quart|Litestar|get_asgi_application)\(/m, "asgi"],
  [/^async def (\w+)\(\s*scope\b/m, "asgi"],
  [/^(\w+)(?:\s*:[^=\n]*)?\s*=\s*(?:\w+\.)*(?:Flask|Bottle|get_wsgi_application)\(/m, "wsgi"],
  [/^def (\w+)\(\s*(?:environ\b|\w+\s*,\s*start_response\b)/m, "wsgi"],
];

/** Returns the first app that the source of a Python file shows. */
export function callableIn(source: string): { kind: "wsgi" | "asgi"; name: string } | undefined {
  for (const [sign, kind] of SIGNS) {
    const name = sign.exec(source)?.[1];
    if (name !== undefined) return { kind, name };
  }
  return undefined;
}

/** Returns a hint for an existing Python file; undefined for others. */
function hintOnPythonFile(target: string, path: string): string | undefined {
  if (!/\.(py|wsgi)$/.test(path)) return undefined;
  const shown = /^[/.]/.test(target) ? target : `./${target}`;
  const source = readHead(path);
  const found = callableIn(source);
  if (found !== undefined) return `is Python; run: paceline start --${found.kind} ${shown}:${found.name}`;
  if (/^\s*(?:import|from)\s+fapws\b/m.test(source)) return `is Python; run: paceline start --fapws ${shown}`;
  return `is Python; run: paceline start --wsgi ${shown}:NAME (Flask, Django), --asgi ${shown}:NAME (FastAPI, Starlette) or --fapws ${shown}`;
}

/** Returns a hint for text such as `module:attribute`; undefined for other text. */
function hintOnCallable(target: string, cwd: string): string | undefined {
  const [, module, name] = /^([\w.]+(?:\/[\w./-]+)?):(\w[\w.]*(?:\(.*\))?)$/.exec(target) ?? [];
  if (module === undefined || name === undefined || /^\d+$/.test(name)) return undefined;
  const file = module.endsWith(".py") ? module : `${module.replaceAll(".", "/")}.py`;
  const source = readHead(resolve(cwd, file));
  const kinds = SIGNS.filter(([sign]) => sign.test(source)).map(([, kind]) => kind);
  const shown = name.includes("(") ? `'${target}'` : target;
  const [kind] = kinds;
  if (kind !== undefined) return `is a Python callable; run: paceline start --${kind} ${shown}`;
  return `is a Python callable; run: paceline start --wsgi ${shown} (Flask, Django) or --asgi ${shown} (FastAPI, Starlette)`;
}

/** Returns the beginning of a file; empty if it cannot be read. */
function readHead(path: string): string {
  try {
    return readRegularFile(path, { maxBytes: MAX_BYTES, onlyHead: true }).toString("latin1");
  } catch {
    return "";
  }
}
