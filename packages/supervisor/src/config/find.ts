/** Finds what a fleet is started from (a config file, an app module, or a folder with one of them), and says what to type where it was given Python. */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { ConfigError } from "./problems.js";

/** In the order in which they are looked for. */
export const CONFIG_FILE_NAMES = [
  "paceline.config.ts",
  "paceline.config.js",
  "paceline.config.mjs",
  "paceline.config.json",
  "paceline.toml",
];

/** In the order in which they are looked for in a folder without a config file. */
export const APP_FILE_NAMES = ["app", "index", "server"].flatMap((name) => [`${name}.ts`, `${name}.js`, `${name}.mjs`]);

/** Where the configuration comes from; all paths are absolute. */
export type FleetSource =
  | { kind: "config"; file: string }
  | { kind: "app"; app: string }
  | { kind: "static"; folder: string }
  | { kind: "fapws"; script: string }
  /** An app of Python, by its name as the config has it; files are taken from the folder. */
  | { kind: "wsgi" | "asgi"; app: string; folder: string };

/** What a source was read from, for people. */
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
    default:
      return source satisfies never;
  }
}

/** A folder whose files are to be served, without a configuration. @throws ConfigError when there is no such folder */
export function staticSource(folder: string, cwd: string): FleetSource {
  const path = resolve(cwd, folder);
  if (kindOf(path) === "folder") return { kind: "static", folder: path };
  throw new ConfigError([{ file: path, path: [], message: "there is no such folder" }]);
}

/** A FAPWS start script, without a configuration. @throws ConfigError when there is no such file */
export function fapwsSource(script: string, cwd: string): FleetSource {
  const path = resolve(cwd, script);
  if (kindOf(path) === "file") return { kind: "fapws", script: path };
  throw new ConfigError([{ file: path, path: [], message: "there is no such file" }]);
}

/**
 * What `target` (a path; the working directory when absent) means. A file is an app unless it is named as a config
 * file or ends in .json or .toml.
 * @throws ConfigError when there is no such file, or nothing usable in the folder
 */
export function findSource(target: string | undefined, cwd: string): FleetSource {
  const path = resolve(cwd, target ?? ".");
  const kind = kindOf(path);
  if (kind === "file") {
    if (isConfigFile(path)) return { kind: "config", file: path };
    const problem = hintOnPythonFile(target ?? "", path) ?? whyNoApp(path);
    if (problem !== undefined) throw new ConfigError([{ file: path, path: [], message: problem }]);
    return { kind: "app", app: path };
  }
  if (kind === "nothing") {
    const message = hintOnCallable(target ?? "", cwd) ?? "there is no such file or folder";
    throw new ConfigError([{ file: path, path: [], message }]);
  }
  const file = findConfigFile(path);
  if (file !== undefined) return { kind: "config", file };
  const app = findApp(path);
  if (app !== undefined) return { kind: "app", app };
  const message = `has no config file (${CONFIG_FILE_NAMES.join(", ")}) and no app (${APP_FILE_NAMES.join(", ")})`;
  throw new ConfigError([{ file: path, path: [], message }]);
}

/** The config file of `folder`, if it has one. */
export function findConfigFile(folder: string): string | undefined {
  return CONFIG_FILE_NAMES.map((name) => join(folder, name)).find((path) => kindOf(path) === "file");
}

/** The app module of `folder`, if it has one. */
export function findApp(folder: string): string | undefined {
  return APP_FILE_NAMES.map((name) => join(folder, name)).find((path) => kindOf(path) === "file");
}

export function isConfigFile(path: string): boolean {
  return basename(path).includes("paceline.config.") || isData(path);
}

/** Whether a config file is read rather than run, by its name. */
export function isData(path: string): boolean {
  return /\.(json|toml)$/.test(path);
}

/** Why the file `path` cannot be an app, by its name; undefined when it can be. */
export function whyNoApp(path: string): string | undefined {
  const name = basename(path);
  if (/\.config\.[cm]?[jt]s$/.test(name) && !name.includes("paceline.config."))
    return `is the configuration of another program; Paceline's is ${CONFIG_FILE_NAMES.join(", ")}`;
  if (/\.[cm]?[jt]sx?$/.test(name)) return undefined;
  if (name.endsWith(".py")) return "is Python: set `wsgi` or `asgi` to its callable, or `fapws` to a FAPWS script";
  return `is neither an app (a JavaScript or TypeScript module) nor a config (${CONFIG_FILE_NAMES.join(", ")})`;
}

/** What lies at `path`, symbolic links followed. */
export function kindOf(path: string): "file" | "folder" | "nothing" {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return "nothing";
  return stat.isDirectory() ? "folder" : "file";
}

const MAX_BYTES = 64 << 10;

/** What shows in a file which kind it is, and under which name it has its callable. */
const SIGNS: readonly (readonly [RegExp, "wsgi" | "asgi"])[] = [
  [/^(\w+)(?:\s*:[^=\n]*)?\s*=\s*(?:\w+\.)*(?:FastAPI|Starlette|Quart|Litestar|get_asgi_application)\(/m, "asgi"],
  [/^async def (\w+)\(\s*scope\b/m, "asgi"],
  [/^(\w+)(?:\s*:[^=\n]*)?\s*=\s*(?:\w+\.)*(?:Flask|Bottle|get_wsgi_application)\(/m, "wsgi"],
  [/^def (\w+)\(\s*environ\b/m, "wsgi"],
];

/** For a file in Python that is there; undefined for others. */
function hintOnPythonFile(target: string, path: string): string | undefined {
  if (!/\.(py|wsgi)$/.test(path)) return undefined;
  const shown = /^[/.]/.test(target) ? target : `./${target}`;
  const source = readHead(path);
  for (const [sign, kind] of SIGNS) {
    const name = sign.exec(source)?.[1];
    if (name !== undefined) return `is Python; run: paceline start --${kind} ${shown}:${name}`;
  }
  if (/^\s*(?:import|from)\s+fapws\b/m.test(source)) return `is Python; run: paceline start --fapws ${shown}`;
  return `is Python; run: paceline start --wsgi ${shown}:NAME (Flask, Django), --asgi ${shown}:NAME (FastAPI, Starlette) or --fapws ${shown}`;
}

/** For `module:attribute`, which is no file; undefined for what does not look so. */
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

/** The first part of a file; nothing where it cannot be read. */
function readHead(path: string): string {
  try {
    const fd = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(MAX_BYTES);
      return bytes.toString("latin1", 0, readSync(fd, bytes, 0, MAX_BYTES, 0));
    } finally {
      closeSync(fd);
    }
  } catch {
    return "";
  }
}
