/**
 * Loads a fleet's configuration from its source, in a child process that writes its result to fd 3, and applies the command line's
 * overrides.
 */

import { spawn } from "node:child_process";
import { existsSync, lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import type { FleetConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { builtFile } from "../package.js";
import { forRuntime, inheritable, ownRuntimeCommand, type Runtimes, spawnProblem } from "../runtime/runtimes.js";
import type { LoadTask, Overrides } from "./compose.js";
import {
  configSource,
  entryKindOf,
  type FleetSource,
  fapwsSource,
  findSource,
  folderOf,
  hasEntry,
  isData,
  placeOf,
  staticSource,
  workerSource,
} from "./find.js";
import { nameOfFolder } from "./identity.js";
import type { ExportTask, LoadResult } from "./load-child.js";
import { ConfigError, copyOfConfig, type Problem } from "./problems.js";

export interface LoadRequest {
  /** A config file, an app module, or a folder. Default: `cwd`. */
  target?: string | undefined;
  /** A folder of files to serve, in place of a target. */
  staticFolder?: string | undefined;
  /** A FAPWS start script, in place of a target. */
  fapwsScript?: string | undefined;
  /** A Python app, in place of a target. */
  pythonApp?: { kind: "wsgi" | "asgi"; app: string } | undefined;
  /** A program with its arguments, in place of a target. */
  command?: string[] | undefined;
  /** Set if the target or the command gets no requests. With a cron pattern, it runs only at the times of that pattern. */
  worker?: { cron: string | undefined } | undefined;
  /** An upstream, in place of a target. */
  proxy?: string | undefined;
  /** A configuration, in place of a target. */
  config?: object | undefined;
  /** The source that an earlier load has found. It is loaded again even if other files have appeared in its folder. */
  source?: FleetSource;
  /** The fleet's own source, while the source of a deploy is loaded. The fleet's name and sockets do not change. */
  own?: FleetSource | undefined;
  /** The release folder of a deploy without a config file. Default: `cwd`. */
  dir?: string | undefined;
  /** The absolute path of an env file for all pools, which is read after their own. */
  envFile?: string | undefined;
  cwd: string;
  overrides: Overrides;
  runtimes: Runtimes;
  /** The environment that a config module sees. */
  environment: Record<string, string>;
  /** In milliseconds. */
  timeoutMs?: number;
  /** Aborted when the result is no longer needed. */
  wanted?: AbortSignal | undefined;
  /** Whether the fleet watches its files, for development. */
  watches?: boolean | undefined;
  /** Whether this process exits soon, so that it may parse a JSON or TOML config itself. A supervisor never does. */
  endsSoon?: boolean;
  /** Whether the fleet is only checked. Secrets that only the fleet's user or its unit can read are then no problem. */
  isOnlyChecked?: boolean;
}

export interface LoadedFleet {
  config: FleetConfig;
  /** The source as named. Symbolic links are not resolved, so that the next load follows them again. */
  source: FleetSource;
  /** The folder of `config` with symbolic links resolved. All its paths stay in this folder, even if the links change later. */
  release: string;
  /** Why `config` is the configuration of a killed supervisor's fleet and was not loaded from the source. */
  problem?: string;
}

/**
 * Loads the fleet of `request`.
 * @throws ConfigError (code `config`) with every problem found
 */
export async function loadFleet(request: LoadRequest): Promise<LoadedFleet> {
  const {
    cwd,
    overrides,
    runtimes,
    environment,
    timeoutMs,
    watches = false,
    endsSoon,
    isOnlyChecked = false,
    wanted,
  } = request;
  const source = request.source === undefined ? sourceOf(request) : again(request.source);
  const { own = source, envFile, dir = cwd } = request;
  const release = pinned(folderOf(source, dir));
  const listenDir = outsideReleases(folderOf(own, cwd));
  const name = defaultName(own);
  const { CREDENTIALS_DIRECTORY } = environment;
  const credentialsDir = CREDENTIALS_DIRECTORY && resolve(release, CREDENTIALS_DIRECTORY);
  const task = {
    source: pinSource(source),
    cwd,
    release,
    listenDir,
    name,
    overrides,
    runtimes,
    watches,
    isOnlyChecked,
    credentialsDir,
    envFile,
  };
  const config =
    endsSoon && !runsCode(source)
      ? await (await import("./compose.js")).composeFleet(task)
      : await loadInProcess(task, { cwd: release, environment, timeoutMs, wanted });
  return { config, source, release };
}

/**
 * Returns the folder to which the fleet's own path points now.
 * @throws ConfigError if it does not exist
 */
export function ownFolderOf(source: FleetSource, cwd: string): string {
  return pinned(folderOf(source, cwd));
}

/**
 * Returns the source of a deploy: the one in `dir` in place of the fleet's own folder, or the file `config`.
 * @throws ConfigError if there is none
 */
export function deploySource(own: FleetSource, { dir, config }: { dir?: string; config?: string }): FleetSource {
  if (config !== undefined) return pinSource(findSource(config, "/"));
  if (dir === undefined) return pinSource(again(own));
  switch (own.kind) {
    case "config":
      return pinSource(configOfRelease(own.file, dir));
    case "app":
      return pinSource(findSource(dir, "/"));
    case "static":
      return staticSource(dir, "/");
    case "fapws":
      return fapwsSource(join(dir, basename(own.script)), "/");
    case "wsgi":
    case "asgi":
    case "command":
    case "worker":
    case "proxy":
    case "object":
      return pinSource({ ...own, folder: dir });
    default:
      return own satisfies never;
  }
}

/**
 * Returns the config of a release: the file with the same name as the running config, otherwise any other config file in the folder.
 * @throws ConfigError if it has none
 */
function configOfRelease(own: string, dir: string): FleetSource {
  const file = join(dir, basename(own));
  if (hasEntry(file)) return configSource(file);
  const source = findSource(dir, "/");
  if (source.kind === "config") return source;
  const message = `has no ${basename(own)}, and without it would run with the defaults: add it, as in ${dirname(own)}`;
  throw new ConfigError([{ file: dir, path: [], message }]);
}

/** Returns a config file that appeared in the folder after the fleet was started without one. Reloads ignore it. */
export function unusedConfig(request: LoadRequest, source: FleetSource): string | undefined {
  if (source.kind !== "app") return undefined;
  try {
    const now = sourceOf(request);
    return now.kind === "config" ? now.file : undefined;
  } catch {
    return undefined; // The folder is gone; loading reports that.
  }
}

/** @throws ConfigError if `source` no longer exists */
function again(source: FleetSource): FleetSource {
  const isFolder = "folder" in source;
  const path = isFolder ? source.folder : placeOf(source);
  const wanted = isFolder ? "folder" : "file";
  const kind = entryKindOf(path);
  if (kind === wanted) return source;
  const message = kind === "other" ? `is not a regular ${wanted}` : `there is no such ${wanted}`;
  throw new ConfigError([{ file: path, path: [], message }]);
}

/** Whether loading the source runs code. */
function runsCode(source: FleetSource): boolean {
  return source.kind === "config" && !isData(source.file);
}

/**
 * Returns the source with symbolic links resolved. A config file may be a link to one that all releases share; its paths still start from
 * the release.
 */
export function pinSource(source: FleetSource): FleetSource {
  switch (source.kind) {
    case "config":
      return { kind: "config", file: join(pinned(dirname(source.file)), basename(source.file)) };
    case "app":
      return { kind: "app", app: pinned(source.app) };
    case "static":
      return { kind: "static", folder: pinned(source.folder) };
    case "fapws":
      return { kind: "fapws", script: pinned(source.script) };
    case "wsgi":
    case "asgi":
    case "command":
    case "worker":
    case "proxy":
    case "object":
      return { ...source, folder: pinned(source.folder) };
    default:
      return source satisfies never;
  }
}

/** Returns a folder that outlives releases: for a symbolic link its parent, because the release that it points to is removed. */
function outsideReleases(folder: string): string {
  return lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink() ? dirname(folder) : folder;
}

/** @throws ConfigError if nothing exists at `path` */
function pinned(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw new ConfigError([{ file: path, path: [], message: "there is no such file or folder" }], { cause });
  }
}

/** Returns the name of a fleet whose configuration does not set one. */
export function defaultName(source: FleetSource): string {
  return nameOfFolder("folder" in source ? source.folder : dirname(placeOf(source)));
}

/**
 * Returns the source that the request names, without reading it.
 * @throws ConfigError
 */
export function sourceOf(request: LoadRequest): FleetSource {
  const { target, staticFolder, fapwsScript, pythonApp, command, worker, proxy, config, cwd } = request;
  if (config !== undefined) return objectSource(config, cwd);
  if (staticFolder !== undefined) return staticSource(staticFolder, cwd);
  if (fapwsScript !== undefined) return fapwsSource(fapwsScript, cwd);
  if (pythonApp !== undefined) return { ...pythonApp, folder: cwd };
  if (worker !== undefined) return workerSource(command ?? target, worker.cron, cwd);
  if (command !== undefined) return { kind: "command", command, folder: cwd };
  if (proxy !== undefined) return { kind: "proxy", url: proxy, folder: cwd };
  return findSource(target, cwd);
}

/** @throws ConfigError unless `config` can be represented in JSON */
function objectSource(config: object, folder: string): FleetSource {
  const { name } = config as { name?: unknown };
  const known = typeof name === "string" && name !== "" ? name : nameOfFolder(folder);
  return { kind: "object", config: copyOfConfig(config), name: known, folder };
}

/** The maximum size of a result in bytes: room for many pools with whole environments. */
const MAX_RESPONSE_BYTES = 16 << 20;
/** How long reading the rest of the result may take after the process has exited, in milliseconds. */
const REST_OF_RESPONSE_MS = 5_000;
const NEWLINE = 0x0a;

/** A bundle without imports, so that the operator's tsconfig.json cannot redirect them. */
const CHILD = builtFile("programs/config/load-child.js");
/** The same program for Bun, with bytecode. */
const COMPILED_CHILD = builtFile("programs/config/compiled.js");

interface LoadProcessOptions {
  /** The working directory of the child. */
  cwd: string;
  environment: Record<string, string>;
  /** The time limit for the child, in milliseconds. Default: 20,000. */
  timeoutMs?: number | undefined;
  /** Aborted when the result is no longer needed. */
  wanted?: AbortSignal | undefined;
}

/**
 * Loads the fleet of `task` in a child process, whose own output goes to this process's stderr.
 * @throws ConfigError with every problem found, also if a config module throws, hangs or exits
 */
async function loadInProcess(task: LoadTask, options: LoadProcessOptions): Promise<FleetConfig> {
  return ((await askChild(task, placeOf(task.source), options)) as { config: FleetConfig }).config;
}

/**
 * Returns the export of another program's module, in the same way.
 * @throws ConfigError as `loadInProcess` does
 */
export async function loadExport(file: string, options: LoadProcessOptions): Promise<unknown> {
  return ((await askChild({ exportOf: file }, file, options)) as { value?: unknown }).value;
}

async function askChild(
  task: LoadTask | ExportTask,
  file: string,
  options: LoadProcessOptions,
): Promise<Exclude<LoadResult, { problems: Problem[] }>> {
  const { cwd, environment, timeoutMs = 20_000 } = options;
  const fail = (message: string) => new ConfigError([{ file, path: [], message }]);
  const isCompiled = process.versions.bun !== undefined && existsSync(COMPILED_CHILD);
  const { command, args } = ownRuntimeCommand({ entry: isCompiled ? COMPILED_CHILD : CHILD, hasUserCode: true });
  const child = spawn(command, [...args, JSON.stringify(task)], {
    cwd,
    env: forRuntime(inheritable(environment), { hasUserCode: true }),
    stdio: ["ignore", 2, 2, "pipe"],
  });
  const pipe = child.stdio[3] as Readable;
  try {
    const received = readResult(pipe, () => child.kill("SIGKILL"));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    const giveUp = () => child.kill("SIGKILL");
    if (options.wanted?.aborted) giveUp();
    options.wanted?.addEventListener("abort", giveUp, { once: true });
    const ended = await new Promise<{ code: number | null; signal: string | null } | Error>((resolve) => {
      child.on("error", resolve);
      child.on("exit", (code, signal) => resolve({ code, signal }));
    });
    clearTimeout(timer);
    options.wanted?.removeEventListener("abort", giveUp);
    if (options.wanted?.aborted) throw fail("was not read completely: no command waits for it any more");
    if (ended instanceof Error) throw fail(`could not be read: ${spawnProblem(ended, command, cwd)}`);
    if (late) {
      const message = `did not finish loading within ${timeoutMs / 1000} s`;
      // The caller's deadline passed; the config itself may be right.
      if (options.timeoutMs !== undefined) throw new PacelineError("timeout", `${file}: ${message}`);
      throw fail(message);
    }
    // Output may arrive after the exit, and a process that is left behind may hold the pipe open.
    let rest: NodeJS.Timeout | undefined;
    const missing = new Promise<"">((resolve) => {
      rest = setTimeout(resolve, REST_OF_RESPONSE_MS, "");
    });
    const text = await Promise.race([received, missing]);
    clearTimeout(rest);
    if (text === undefined) throw fail(`exports a configuration of more than ${MAX_RESPONSE_BYTES} bytes`);
    if (text === "")
      throw fail(`ended with ${ended.signal ?? `code ${ended.code}`} before it exported a configuration`);
    const response = JSON.parse(text) as LoadResult;
    if ("problems" in response) throw new ConfigError(response.problems, { sound: response.sound });
    return response;
  } finally {
    pipe.destroy();
  }
}

/**
 * Reads one line. Returns an empty line if the line is incomplete, undefined if it is too long. Unlike a file, a pipe needs no disk space.
 */
function readResult(pipe: Readable, onTooLong: () => void): Promise<string | undefined> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let size = 0;
    pipe.on("data", (part: Buffer) => {
      parts.push(part);
      size += part.length;
      if (size > MAX_RESPONSE_BYTES) {
        resolve(undefined);
        onTooLong();
      } else if (part.at(-1) === NEWLINE) resolve(Buffer.concat(parts).toString("utf8"));
    });
    // The child was killed or wrote nothing.
    pipe.once("error", () => resolve(""));
    pipe.once("end", () => resolve(""));
    pipe.once("close", () => resolve(""));
  });
}
