/**
 * Code that the starting process and the supervisor share: prepares a start, passes the loaded fleet to the supervisor, words the messages
 * about the start, and notices when the starting process exits.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync, rmSync, writeSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { attempt } from "@paceline/wire/proc";
import {
  APP_FILE_NAMES,
  CONFIG_FILE_NAMES,
  entryKindOf,
  type FleetSource,
  findApp,
  namedSource,
  placeOf,
} from "../config/find.js";
import { type FleetIdentity, identityOf, writtenCwd } from "../config/identity.js";
import { clientAddresses, formatListenAddress } from "../config/listen-address.js";
import { type LoadedFleet, type LoadRequest, loadFleet, sourceOf } from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import type { LastExit, Status } from "../control/api.js";
import type { FleetConfig } from "../core/model.js";
import { visibleLine } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { ARGUMENTS_OPTION, PROGRAM_OPTION } from "../run-dir/fleet-file.js";
import { runDirOf } from "../run-dir/registry.js";
import { findRuntimes, type Runtimes } from "../runtime/runtimes.js";
import type { FleetStart } from "./api.js";

/** The options of a start that only Paceline's own programs can use. */
export interface OwnStart extends FleetStart {
  /** Whether to continue a fleet that runs without a supervisor, and never to start a new one. */
  onlyAdopts?: boolean | undefined;
  /** Whether to reload a fleet that is continued. */
  reloadsAdopted?: boolean | undefined;
  /** Whether the fleet is only rehearsed, without the pools that get no requests. */
  rehearses?: boolean | undefined;
}

export interface PreparedStart {
  fleet: LoadedFleet;
  request: LoadRequest;
  runtimes: Runtimes;
  identity: FleetIdentity;
  runDirPath: string;
  /** The run options by name, which a running fleet cannot change, as texts for comparison. */
  options: Record<string, string>;
}

interface PrepareOptions {
  /** The fleet that the starting process has loaded: a descriptor, or the path of a file that is read once and removed. */
  handover?: number | string | undefined;
  /** Whether this process exits soon, so that it may parse a JSON or TOML config itself. */
  endsSoon?: boolean | undefined;
  /** Whether the fleet is only checked, so that nothing is started. */
  isOnlyChecked?: boolean;
}

/** @throws ConfigError, or PacelineError `cwd`, `rundir` */
export async function prepareStart(
  start: OwnStart,
  { handover, endsSoon = false, isOnlyChecked = false }: PrepareOptions = {},
): Promise<PreparedStart> {
  const environment = start.env ?? (process.env as Record<string, string>);
  const runtimes = findRuntimes(environment);
  const here = writtenCwd(environment);
  const cwd = start.cwd === undefined ? here : resolve(here, start.cwd);
  const { name, instances, listen, defaultPort, tls, sticky, runtime, python, args, rehearses } = start;
  checkOrigin(start);
  const request: LoadRequest = {
    target: start.file,
    staticFolder: start.static,
    fapwsScript: start.fapws,
    pythonApp: pythonAppOf(start),
    command: start.command,
    worker: start.worker || start.cron !== undefined ? { cron: start.cron } : undefined,
    proxy: start.proxy,
    config: start.config,
    cwd,
    overrides: { name, instances, listen, defaultPort, tls, sticky, runtime, python, args, rehearses },
    runtimes,
    environment,
    watches: start.watch,
    endsSoon,
    isOnlyChecked,
  };
  const fleet = handover === undefined ? await loadOrGoOn(start, request, isOnlyChecked) : readHandover(handover);
  const identity = identityOf(fleet.source, cwd);
  const runDirPath = runDirOf(identity, start.runDir, cwd, environment);
  return { fleet, request, runtimes, identity, runDirPath, options: runOptionsOf(start) };
}

/** If the configuration cannot be loaded, the fleet of a killed supervisor continues unchanged, to avoid an outage. */
async function loadOrGoOn(start: FleetStart, request: LoadRequest, isOnlyChecked: boolean): Promise<LoadedFleet> {
  const missing = isOnlyChecked ? undefined : await fleetOfMissingSource(start, request);
  if (missing !== undefined) return missing;
  try {
    return await loadFleet(request);
  } catch (error) {
    if (!(error instanceof ConfigError) || isOnlyChecked || start.replace) throw error;
    let found: Pick<LoadedFleet, "config" | "release"> | undefined;
    const { cwd, environment } = request;
    const source = attempt(() => sourceOf(request));
    if (source !== undefined) {
      const identity = identityOf(source, cwd);
      const { presentFleet } = await import("../run-dir/present-fleet.js");
      found = presentFleet(runDirOf(identity, start.runDir, cwd, environment), identity.source);
    }
    if (source === undefined || found === undefined) throw error;
    return { ...found, source, problem: error.message };
  }
}

/**
 * Returns the running fleet whose supervisor was killed and whose config file, app or folder (or the link to it) is gone. A start of its
 * folder refers to that fleet, not to a second one of the app that is there.
 * @throws ConfigError if its supervisor is running, or if it should be replaced
 */
async function fleetOfMissingSource(start: FleetStart, request: LoadRequest): Promise<LoadedFleet | undefined> {
  const sources = missingSources(request);
  if (sources.length === 0) return undefined;
  const { cwd, environment } = request;
  const { fleetAt } = await import("../run-dir/present-fleet.js");
  for (const source of sources) {
    const identity = identityOf(source, cwd);
    const { pid, present } = fleetAt(runDirOf(identity, start.runDir, cwd, environment), identity.source);
    const why = `is missing${brokenLinkOf(identity.source)}`;
    const problem = (message: string) => new ConfigError([{ file: identity.source, path: [], message }]);
    if (present !== undefined && !start.replace) return { ...present, source, problem: problem(why).message };
    if (present === undefined && pid === undefined) continue;
    const how = pid === undefined ? "runs without a supervisor" : `runs (pid ${pid})`;
    const remedy = `restore it, or end that fleet: paceline stop -c ${identity.source}; to start an app beside it, name the app's file`;
    throw problem(`${why}, and its fleet ${how}: ${remedy}`);
  }
  return undefined;
}

/** If none of the sources of this start exists, returns the possible ones. */
function missingSources(request: LoadRequest): FleetSource[] {
  const { target, staticFolder, fapwsScript, pythonApp, command, worker, proxy, config, cwd } = request;
  if (staticFolder !== undefined) return ifNothing({ kind: "static", folder: resolve(cwd, staticFolder) });
  if (fapwsScript !== undefined) return ifNothing({ kind: "fapws", script: resolve(cwd, fapwsScript) });
  if (worker !== undefined && command === undefined && target !== undefined) {
    const { cron } = worker;
    return ifNothing({ kind: "worker", worker: target, ...(cron !== undefined && { cron }), folder: cwd });
  }
  if ([pythonApp, command, worker, proxy, config].some((each) => each !== undefined)) return [];
  const path = resolve(cwd, target ?? ".");
  const kind = entryKindOf(path);
  if (kind !== "nothing" && kind !== "folder") return [];
  // A broken symbolic link also counts as a missing config.
  const configs = CONFIG_FILE_NAMES.map((name) => ({ kind: "config", file: join(path, name) }) as const);
  if (!configs.every(({ file }) => entryKindOf(file) === "nothing")) return [];
  const apps = findApp(path) !== undefined ? [] : APP_FILE_NAMES.map((name) => join(path, name));
  const within = [...configs, ...apps.map((app) => ({ kind: "app", app }) as const)];
  return kind === "folder" ? within : [namedSource(path), ...within];
}

function ifNothing(source: FleetSource): FleetSource[] {
  return entryKindOf(placeOf(source)) === "nothing" ? [source] : [];
}

/** Returns a part of a message about a broken symbolic link on the way to `path`; empty if there is none. */
function brokenLinkOf(path: string): string {
  const parent = dirname(path);
  if (parent !== path && entryKindOf(parent) === "nothing") return brokenLinkOf(parent);
  const target = attempt(() => readlinkSync(path));
  return target === undefined ? "" : ` (${path} is a symbolic link to ${target}, where there is nothing)`;
}

/** Longer values are recorded as their hash. */
const MAX_OPTION_LENGTH = 256;

function runOptionsOf(start: FleetStart): Record<string, string> {
  const { name, runtime, python, static: folder, proxy, fapws, wsgi, asgi, worker, cron, watch, command, args } = start;
  const given = {
    ...{
      "--name": name,
      "--tls": start.tls,
      "--sticky": start.sticky,
      "--runtime": runtime,
      "--python": python,
      "--static": folder,
      "--proxy": proxy,
    },
    ...{ "--fapws": fapws, "--wsgi": wsgi, "--asgi": asgi, "--worker": worker, "--cron": cron, "--watch": watch },
    ...{ [PROGRAM_OPTION]: command, [ARGUMENTS_OPTION]: args?.length === 0 ? undefined : args },
  };
  const texts = Object.entries(given).flatMap(([option, value]) => {
    if (value === undefined || value === false) return [];
    const text = JSON.stringify(value);
    const isLong = text.length > MAX_OPTION_LENGTH;
    return [[option, isLong ? createHash("sha256").update(text).digest("hex") : text] as const];
  });
  return Object.fromEntries(texts);
}

function pythonAppOf({ wsgi, asgi }: FleetStart): LoadRequest["pythonApp"] {
  if (wsgi !== undefined) return { kind: "wsgi", app: wsgi };
  return asgi === undefined ? undefined : { kind: "asgi", app: asgi };
}

const WHAT = {
  static: "a folder of files",
  proxy: "an upstream",
  fapws: "a start script",
  wsgi: "a WSGI app",
  asgi: "an ASGI app",
} as const;

/**
 * Checks that only one thing to start is named.
 * @throws ConfigError
 */
function checkOrigin(start: FleetStart): void {
  const refuse = (message: string) => {
    throw new ConfigError([{ path: [], message }]);
  };
  const given = (Object.keys(WHAT) as (keyof typeof WHAT)[]).filter((name) => start[name] !== undefined);
  const [first, second] = given;
  if (second !== undefined) refuse(`--${first} cannot be combined with --${second}`);
  if (start.python !== undefined && (first === undefined || first === "static" || first === "proxy"))
    refuse("--python needs --wsgi, --asgi or --fapws; in a config, set the key `python`");
  const worker = start.worker ? "worker" : start.cron && "cron";
  if (worker && first !== undefined) refuse(`--${worker} cannot be combined with --${first}`);
  if (start.command !== undefined && first !== undefined)
    refuse(`--${first} already names ${WHAT[first]}: omit ${start.command.join(" ")}`);
  if (start.config !== undefined && (given.length > 0 || start.command !== undefined || start.file !== undefined))
    refuse("a config as a value cannot be combined with another origin of the fleet");
  const hint = first === "fapws" ? " (arguments of the script follow after --)" : "";
  if (start.file !== undefined && first !== undefined)
    refuse(`--${first} already names ${WHAT[first]}: omit ${start.file}${hint}`);
}

/** Returns a line, for example `shop: 4 instances of examples/hello/app.ts on http://127.0.0.1:8080`. */
export function describeFleet(config: FleetConfig, cwd: string): string {
  return visibleLine(description(config, cwd));
}

function description(config: FleetConfig, cwd: string): string {
  const addresses = clientAddresses(config).map(formatListenAddress).join(", ");
  const on = addresses === "" ? "" : ` on ${addresses}`;
  const [only] = config.pools;
  if (config.pools.length === 1 && only !== undefined) {
    const { scaling } = only;
    const size = scaling == null ? instances(only.instances) : `${sizeOf(only)} instances`;
    return `${config.name}: ${size} of ${shown(only.source, cwd)}${on}`;
  }
  const pools = config.pools.map((pool) => `${pool.name} ${sizeOf(pool)}`).join(", ");
  const total = config.pools.reduce((sum, pool) => sum + pool.instances, 0);
  return `${config.name}: ${instances(total)} in ${config.pools.length} pools (${pools})${on}`;
}

/** Returns `4`, or `1 to 8` for an autoscaled pool. */
function sizeOf({ instances: least, scaling }: FleetConfig["pools"][number]): string {
  return scaling == null ? `${least}` : `${scaling.min} to ${scaling.max}`;
}

/** A command line or a URL is not a path and is shown unchanged. */
function shown(source: string, cwd: string): string {
  if (!isAbsolute(source)) return source;
  const path = relative(cwd, source) || ".";
  return path.startsWith("..") ? source : path;
}

function instances(count: number): string {
  return count === 1 ? "1 instance" : `${count} instances`;
}

/** The maximum number of processes that a line names. */
const MAX_NAMED = 3;

/**
 * Returns a line, for example `not all instances became ready within 5 s: web.2 (starting)`, and the last lines of an instance that failed.
 */
export function lateMessage(
  timeoutMs: number,
  status: Pick<Status, "pools"> | undefined,
): { message: string; lastLines: string[] } {
  const missing = (status?.pools ?? []).flatMap((pool) => pool.instances).filter(({ state }) => state !== "ready");
  const named = listed(missing, ({ state }) => state);
  const which = named === "" ? "" : `: ${named}`;
  const message = visibleLine(`not all instances became ready within ${timeoutMs / 1000} s${which}`);
  return { message, lastLines: missing.find(({ lastExit }) => lastExit !== null)?.lastExit?.lastLines ?? [] };
}

/** Returns a line, for example `waiting for web.2 (starting for 2 s), web.3 (backoff; exited with code 1 after 0.3 s)`. */
export function waitingMessage(
  pid: number | undefined,
  status: Pick<Status, "pools" | "balancers"> | undefined,
): string {
  if (status === undefined) return `waiting for the supervisor (pid ${pid}), which does not respond yet`;
  const all = [...status.pools.flatMap((pool) => pool.instances), ...status.balancers];
  const missing = all.filter(({ state }) => state !== "ready");
  const named = listed(missing, ({ state, uptimeSeconds }) =>
    uptimeSeconds === null ? state : `${state} for ${Math.round(uptimeSeconds)} s`,
  );
  return visibleLine(`waiting for ${named === "" ? "the fleet, whose processes are ready" : named}`);
}

/** Names the first processes, each with the result of `stateOf` and its last exit. */
function listed<T extends { name: string; lastExit: LastExit | null }>(all: T[], stateOf: (one: T) => string): string {
  const named = all.slice(0, MAX_NAMED).map((one) => {
    const { name, lastExit } = one;
    return `${name} (${lastExit === null ? stateOf(one) : `${stateOf(one)}; ${lastExit.reason}`})`;
  });
  return `${named.join(", ")}${all.length > named.length ? ` and ${all.length - named.length} more` : ""}`;
}

/**
 * Writes `fleet` to an unlinked file in the run directory, for the supervisor to inherit. No file remains, whichever process dies.
 * @throws PacelineError `rundir`
 */
export function writeHandover(runDirPath: string, fleet: LoadedFleet): number {
  const path = join(runDirPath, `start-${process.pid}.json`);
  let fd: number | undefined;
  try {
    fd = openSync(path, "wx+", 0o600);
    // Unlinked before it contains a secret.
    rmSync(path);
    const bytes = Buffer.from(JSON.stringify(fleet));
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    return fd;
  } catch (cause) {
    if (fd !== undefined) closeSync(fd);
    throw new PacelineError("rundir", `cannot write in ${runDirPath}: ${(cause as Error).message}`, {
      cause,
    });
  } finally {
    rmSync(path, { force: true });
  }
}

/** Reads the fleet that was handed over, and closes the descriptor. */
function readHandover(handover: number | string): LoadedFleet {
  const fd = typeof handover === "number" ? handover : openSync(handover, constants.O_RDONLY | constants.O_NOFOLLOW);
  if (typeof handover === "string") rmSync(handover, { force: true });
  const bytes = Buffer.alloc(fstatSync(fd).size);
  for (let read = 0; read < bytes.length; ) {
    const length = readSync(fd, bytes, read, bytes.length - read, read);
    if (length === 0) throw new Error("the starter handed over less than it announced");
    read += length;
  }
  closeSync(fd);
  return JSON.parse(bytes.toString()) as LoadedFleet;
}

/** Sent on standard input by a client that leaves the fleet running. */
export const DETACH = "detach";

/** Calls `onGone` when standard input ends without `DETACH`. Returns a function that stops watching. */
export function watchClient(onGone: () => void): () => void {
  const { stdin } = process;
  let said = "";
  const hear = (text: string) => {
    said = (said + text).slice(-2 * DETACH.length);
    if (said.includes(DETACH)) unwatch();
  };
  const unwatch = () => {
    stdin.off("data", hear).off("end", onGone).off("close", onGone);
    // An open stdin would keep this process alive.
    stdin.destroy();
  };
  stdin.on("error", () => {}); // "end" or "close" follows.
  stdin.setEncoding("utf8").on("data", hear).once("end", onGone).once("close", onGone);
  return unwatch;
}
