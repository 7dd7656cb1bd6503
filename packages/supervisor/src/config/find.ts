/** Finds what a fleet is started from: a config file, an app module, or a folder that has one of them. */
import { statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { ConfigError } from "./problems.js";
import { hintOnCallable, hintOnPythonFile } from "./python-hint.js";

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
  if (name.endsWith(".py"))
    return "is Python: name its callable with `wsgi` or `asgi`, or a script of FAPWS with `fapws`";
  return `is no app (a module in JavaScript or TypeScript) and no config (${CONFIG_FILE_NAMES.join(", ")})`;
}

/** What lies at `path`, symbolic links followed. */
export function kindOf(path: string): "file" | "folder" | "nothing" {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return "nothing";
  return stat.isDirectory() ? "folder" : "file";
}
