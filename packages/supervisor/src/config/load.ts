/** Loads a fleet's configuration from where it is kept, with what the command line says laid over it. */
import { lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { FleetConfig } from "../core/model.js";
import type { Runtimes } from "../runtime/runtimes.js";
import type { Overrides } from "./compose.js";
import { type FleetSource, fapwsSource, findSource, isData, kindOf, placeOf, staticSource } from "./find.js";
import { nameOfFolder } from "./identity.js";
import { loadInProcess } from "./load-process.js";
import { ConfigError } from "./problems.js";

export interface LoadRequest {
  /** A config file, an app module, or a folder. Default: `cwd`. */
  target?: string | undefined;
  /** A folder whose files are served, in the place of a target. */
  staticFolder?: string | undefined;
  /** A FAPWS start script, in the place of a target. */
  fapwsScript?: string | undefined;
  /** An app of Python, in the place of a target. */
  pythonApp?: { kind: "wsgi" | "asgi"; app: string } | undefined;
  /** What an earlier load has found: it is loaded again from there, whatever else lies in that folder now. */
  source?: FleetSource;
  cwd: string;
  overrides: Overrides;
  runtimes: Runtimes;
  /** What a config module sees as its environment. */
  environment: Record<string, string>;
  /** In milliseconds. */
  timeoutMs?: number;
  /** This process ends soon: it may read a configuration itself that runs no code, which a supervisor never does. */
  endsSoon?: boolean;
}

export interface LoadedFleet {
  config: FleetConfig;
  /** As it was named: symbolic links are not followed, so that the next load finds what they lead to then. */
  source: FleetSource;
  /** The folder that `config` is of, symbolic links followed: all its paths stay in it, wherever they lead later. */
  release: string;
}

/**
 * The fleet that `request` means.
 * @throws ConfigError (code `config`) with every problem there is
 */
export async function loadFleet(request: LoadRequest): Promise<LoadedFleet> {
  const { cwd, overrides, runtimes, environment, timeoutMs, endsSoon } = request;
  const source = request.source === undefined ? sourceOf(request) : again(request.source);
  const writtenFolder = source.kind === "config" ? dirname(source.file) : cwd;
  const release = pinned(writtenFolder);
  const listenDir = outsideReleases(writtenFolder);
  const task = { source: pinSource(source), cwd, release, listenDir, name: nameOf(source), overrides, runtimes };
  const config =
    endsSoon && !runsCode(source)
      ? await (await import("./compose.js")).composeFleet(task)
      : await loadInProcess(task, { cwd: release, environment, timeoutMs });
  return { config, source, release };
}

/**
 * A config file that was not there when the fleet was started without one, in the folder that it was started by.
 * The fleet is reloaded without it.
 */
export function unusedConfig(request: LoadRequest, source: FleetSource): string | undefined {
  if (source.kind !== "app") return undefined;
  try {
    const now = sourceOf(request);
    return now.kind === "config" ? now.file : undefined;
  } catch {
    return undefined; // The folder has gone, say; the load has told it.
  }
}

/** @throws ConfigError when `source` is gone */
function again(source: FleetSource): FleetSource {
  const isFolder = "folder" in source;
  const path = isFolder ? source.folder : placeOf(source);
  const wanted = isFolder ? "folder" : "file";
  if (kindOf(path) === wanted) return source;
  throw new ConfigError([{ file: path, path: [], message: `there is no such ${wanted}` }]);
}

/** Whether it is loaded by running it. */
function runsCode(source: FleetSource): boolean {
  return source.kind === "config" && !isData(source.file);
}

/** A config file may itself be a link, to one that all releases share; its paths are taken from the release. */
function pinSource(source: FleetSource): FleetSource {
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
      return { ...source, folder: pinned(source.folder) };
    default:
      return source satisfies never;
  }
}

/** A folder that is a symbolic link leads to another release after a switch, and the one before is removed: beside the link is neither. */
function outsideReleases(folder: string): string {
  return lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink() ? dirname(folder) : folder;
}

/** @throws ConfigError when nothing is there */
function pinned(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw new ConfigError([{ file: path, path: [], message: "there is no such file or folder" }], { cause });
  }
}

function nameOf(source: FleetSource): string {
  return nameOfFolder("folder" in source ? source.folder : dirname(placeOf(source)));
}

function sourceOf({ target, staticFolder, fapwsScript, pythonApp, cwd }: LoadRequest): FleetSource {
  if (staticFolder !== undefined) return staticSource(staticFolder, cwd);
  if (fapwsScript !== undefined) return fapwsSource(fapwsScript, cwd);
  if (pythonApp !== undefined) return { ...pythonApp, folder: cwd };
  return findSource(target, cwd);
}
