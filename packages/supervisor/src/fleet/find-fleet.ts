/** Finds the fleet to which a command refers, among those of known-fleets.ts, or explains why there is none. */
import { existsSync, lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { attempt } from "@paceline/wire/proc";
import { hasSocketBelow } from "@paceline/wire/socket-file";
import { entryKindOf, type FleetSource, findConfigFile, findSource, folderOf, placeOf } from "../config/find.js";
import { runDirName, writtenCwd } from "../config/identity.js";
import { fitsSocketAddress } from "../config/listen-address.js";
import { dateAndTime } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { type FleetFile, readFleetFile } from "../run-dir/fleet-file.js";
import { handOverIn, handOverText } from "../run-dir/hand-over.js";
import { isStopped, lockHolder, wasLocked } from "../run-dir/lock.js";
import { describeOrphans, findOrphans } from "../run-dir/orphans.js";
import { fleetSeenAt, namedRunDir, serviceRunDir, stateFolder, stateFolderOf } from "../run-dir/registry.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import { allowedOwner, type Distrust, distrust, userName } from "../run-dir/trust.js";
import type { FleetChoice } from "./api.js";
import { channelSocketOf, type FoundFleet, inspect, listOwn, nameOf, ownerOf } from "./known-fleets.js";

/**
 * The maximum time, in milliseconds, from the moment when a supervisor takes its lock until it serves its control socket; also from when it
 * closes that socket until it releases the lock.
 */
const STARTING_MS = 10_000;
const LOOK_EVERY_MS = 50;

/**
 * Finds the fleet that the options select. Waits for a fleet that is just starting or stopping.
 * @throws PacelineError like `findFleet`
 */
export async function findSettledFleet(options: FleetChoice): Promise<FoundFleet> {
  const deadline = performance.now() + STARTING_MS;
  for (;;) {
    const fleet = await findFleet(options);
    const isStill = fleet.doubt !== undefined || isStopped(lockHolder(fleet.runDir)?.pid);
    if (fleet.state !== "starting" || isStill) return fleet;
    if (performance.now() >= deadline) return isAbandoned(fleet) ? { ...fleet, state: "orphaned" } : fleet;
    await sleep(LOOK_EVERY_MS);
  }
}

/** Whether no supervisor has created the run directory anew, or locked it. */
function isAbandoned({ runDir }: FoundFleet): boolean {
  return existsSync(runDir) && !wasLocked(runDir);
}

/** How long a supervisor may take to exit after its connection is lost, in milliseconds. */
const ENDING_MS = 3_000;

/** Returns whether a fleet whose supervisor was lost has a new one, may get one, or has stopped. Pure. */
export function afterLoss(
  { state, record }: Pick<FoundFleet, "state" | "record">,
  former: number | undefined,
  waitedMs: number,
): "next" | "wait" | "ended" {
  if (record === undefined || record.endedAt !== null || state === "down") return "ended";
  if (state === "up" && record.pid !== former) return "next";
  return state === "up" && waitedMs >= ENDING_MS ? "ended" : "wait";
}

/**
 * Finds the running fleet that the options select.
 * @throws PacelineError `not-running`, `orphaned`, `busy`, `denied` or `usage`, with the places that were searched
 */
export async function findRunningFleet(options: FleetChoice): Promise<FoundFleet> {
  const fleet = await findSettledFleet(options);
  const { record, runDir, state } = fleet;
  switch (state) {
    case "up":
      return fleet;
    case "starting":
      if (fleet.doubt !== undefined) throw new PacelineError("denied", deniedFor(fleet.doubt));
      if (!existsSync(runDir))
        throw new PacelineError(
          "not-running",
          `${runDir} was removed while its fleet runs, and its supervisor has not created it again; if the supervisor was killed, too, \`paceline start --replace\` ends the processes that are left and starts the fleet again`,
        );
      throw new PacelineError("not-running", `${nameOf(fleet)} is starting and does not respond yet`);
    case "upgrading": {
      const handOver = handOverIn(runDir);
      // It has just stopped.
      if (handOver === undefined) return findRunningFleet(options);
      throw new PacelineError("busy", handOverText(nameOf(fleet), handOver));
    }
    case "orphaned": {
      const channelSocket = channelSocketOf(fleet);
      throw new PacelineError(
        "orphaned",
        describeOrphans(runDir, record, channelSocket, findOrphans(channelSocket).length),
      );
    }
    case "down": {
      const killed = record !== undefined && record.endedAt === null;
      const seenAt = killed ? fleetSeenAt(runDir, record.channelSocket) : 0;
      const since = seenAt === 0 ? "" : ` after ${dateAndTime(seenAt).slice(0, -".000".length)}`;
      const ended = killed ? `its supervisor (pid ${record.pid}) was killed${since}` : "the fleet has stopped";
      const last = record === undefined ? `in ${runDir}` : `from ${record.source}: ${ended}`;
      throw new PacelineError("not-running", `nothing is running ${last}`);
    }
    default:
      return state satisfies never;
  }
}

/**
 * Finds the fleet of `--run-dir` or PACELINE_RUN_DIR; otherwise of `--config`; otherwise the one started in the nearest folder from the
 * working directory upward. Returns a stopped fleet only if no running one matches.
 * @throws PacelineError `not-running`, `denied` or `usage`
 */
export async function findFleet(
  options: FleetChoice,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<FoundFleet> {
  const cwd = options.cwd ?? writtenCwd(environment);
  const meant = options.config === undefined ? undefined : sourceOf(options.config, cwd);
  const named = namedRunDir(options.runDir, cwd, environment);
  if (named !== undefined) return inNamed(named, meant);
  const service = serviceRunDir(environment);
  const isOfService = service !== undefined && distrust(service) === undefined && readFleetFile(service) !== undefined;
  if (isOfService && meant === undefined) return inspect(service);
  const own = listOwn(environment);
  // A link in the state folder may point to the same run directory as the service's.
  const runDirs = new Set([...(isOfService ? [service] : []), ...own.runDirs]);
  const open = new Set(own.open?.filter(hasProcess));
  const known = [...runDirs, ...open].map((runDir) => ({ runDir, record: readFleetFile(runDir) }));
  const records = known.flatMap(({ runDir, record }) => (record === undefined ? [] : [{ runDir, record }]));
  const folder = meant === undefined ? cwd : folderOf(meant, cwd);
  const matching = meant === undefined ? nearest(records, cwd) : meantBy(options.config ?? "", meant, records);
  const refused = matching.find(({ runDir }) => open.has(runDir));
  if (refused !== undefined) return inNamed(refused.runDir, meant);
  const fleets = await Promise.all(matching.map(({ runDir }) => inspect(runDir)));
  const alive = fleets.filter(({ state }) => state !== "down");
  const [first, second] = alive;
  if (second !== undefined) {
    const names = alive.map((fleet) => `${nameOf(fleet)} (pid ${fleet.record?.pid})`).join(", ");
    const isByName = meant !== undefined && alive.every(({ record }) => record?.name === options.config);
    const where = isByName ? `are called ${options.config}` : `run in ${folder}`;
    const how = isByName ? "its path after --config" : "--config";
    throw new PacelineError("usage", `several fleets ${where}: ${names}; name one with ${how}`);
  }
  if (first !== undefined) return first;
  const others = fleetsOfOthers(meant === undefined ? undefined : placeOf(meant), folder, environment);
  const latest = fleets.sort((a, b) => (b.record?.startedAt ?? 0) - (a.record?.startedAt ?? 0))[0];
  if (others !== undefined) throw new PacelineError("denied", others);
  if (latest !== undefined) return latest;
  const sources = meant === undefined ? configsFrom(cwd) : [placeOf(meant)];
  const unread = (await withoutRecord([...runDirs], sources)) ?? withoutRunDir(sources, environment);
  if (unread !== undefined) return unread;
  const doubt = own.doubt === undefined ? "" : `; ${own.doubt}`;
  throw new PacelineError("not-running", nothing(meant, folder, records) + doubt);
}

function hasProcess(runDir: string): boolean {
  const channelSocket = channelSocketOf({ record: readFleetFile(runDir), runDir });
  return lockHolder(runDir) !== undefined || findOrphans(channelSocket).length > 0;
}

/** Returns the fleet of a run directory without a readable record, by its name, if a process of it is running. */
async function withoutRecord(runDirs: readonly string[], sources: readonly string[]): Promise<FoundFleet | undefined> {
  for (const source of sources) {
    const name = runDirName({ source });
    for (const runDir of runDirs.filter((path) => basename(path) === name)) {
      const fleet = await inspect(runDir);
      if (fleet.record === undefined && fleet.state !== "down") return fleet;
    }
  }
  return undefined;
}

/** Returns the fleet of one of these sources whose run directory was removed. */
function withoutRunDir(sources: readonly string[], environment: NodeJS.ProcessEnv): FoundFleet | undefined {
  const state = attempt(() => stateFolder(environment));
  if (state === undefined) return undefined;
  return sources.map((source) => removed(join(state, runDirName({ source })))).find((fleet) => fleet !== undefined);
}

/** Returns the fleet of a missing run directory if its processes are running: its supervisor creates the directory again, or just has. */
function removed(runDir: string): FoundFleet | undefined {
  const fleet = { runDir, record: undefined };
  if (findOrphans(channelSocketOf(fleet)).length === 0) return undefined;
  return { ...fleet, controlSocket: controlSocketIn(runDir), state: "starting", owner: undefined };
}

/** Returns the config files of this folder and the folders above it, nearest first. */
function configsFrom(folder: string): string[] {
  return [findConfigFile(folder) ?? [], folder === "/" ? [] : configsFrom(dirname(folder))].flat();
}

/** Returns the fleets started from this path; if there is no such file, those with that name. */
function meantBy(config: string, meant: FleetSource, records: Known[]): Known[] {
  const started = records.filter(({ record }) => isSource(record, meant));
  if (started.length > 0 || entryKindOf(placeOf(meant)) !== "nothing") return started;
  return records.filter(({ record }) => record.name === config);
}

interface Known {
  runDir: string;
  record: FleetFile;
}

/** Also accepts a config file that has been deleted or replaced, because its path still identifies the fleet. */
function sourceOf(config: string, cwd: string): FleetSource {
  const path = resolve(cwd, config);
  const kind = entryKindOf(path);
  if (kind === "nothing" || kind === "other") return { kind: "static", folder: path };
  if (kind === "file") return findSource(config, cwd);
  const file = findConfigFile(path);
  return file === undefined ? { kind: "static", folder: path } : { kind: "config", file };
}

/** Compares paths as text: `current` and the release to which it points are the sources of two different fleets. */
function isSource({ source, folder }: FleetFile, meant: FleetSource): boolean {
  const path = placeOf(meant);
  return source === path || (meant.kind === "static" && folder === path);
}

/** Returns the fleets whose folder, as written or resolved, is the nearest one that contains `cwd`. */
function nearest(records: Known[], cwd: string): Known[] {
  const here = [cwd, realPath(cwd) ?? cwd];
  const depth = ({ folder, release }: FleetFile) => {
    const keys = [folder, realPath(folder) ?? folder, release];
    const reaching = keys.filter((key) =>
      here.some((path) => path === key || path.startsWith(key === "/" ? key : `${key}/`)),
    );
    return Math.max(-1, ...reaching.map((key) => key.length));
  };
  const depths = new Map(records.map((known) => [known, depth(known.record)]));
  // A stopped fleet must not hide a running one further up.
  const alive = records.filter(({ runDir }) => lockHolder(runDir) !== undefined);
  const candidates = alive.some((known) => (depths.get(known) ?? -1) >= 0) ? alive : records;
  const longest = Math.max(-1, ...candidates.map((known) => depths.get(known) ?? -1));
  return longest < 0 ? [] : candidates.filter((known) => depths.get(known) === longest);
}

/** Whether `path` resolves to the fleet's source or folder. */
function leadsTo(path: string, { source, folder }: FleetFile): boolean {
  const real = realPath(path);
  return real !== undefined && (real === realPath(source) || real === realPath(folder));
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // The path no longer exists.
  }
}

async function inNamed(path: string, meant: FleetSource | undefined): Promise<FoundFleet> {
  const found = distrust(path, { uid: allowedOwner(path) });
  if (found?.code === "missing") {
    const fleet = removed(path);
    if (fleet !== undefined) return fleet;
    throw new PacelineError("not-running", `nothing is running in ${path}: there is no such directory`);
  }
  if (found !== undefined) throw new PacelineError("denied", deniedFor(found));
  const fleet = await inspect(path);
  const { record } = fleet;
  if (meant === undefined || record === undefined || isSource(record, meant)) return fleet;
  throw new PacelineError("not-running", `${path} is the run directory of ${record.source}, not of ${placeOf(meant)}`);
}

function deniedFor({ reason, owner }: Distrust): string {
  if (reason.startsWith("permission denied")) return reason;
  const hint = owner === undefined ? "" : `; run this as that user: sudo -u ${userName(owner)} paceline …`;
  return `permission denied: ${reason}${hint}`;
}

function nothing(meant: FleetSource | undefined, folder: string, records: Known[]): string {
  if (meant === undefined) return `nothing is running here: you have no fleet in ${folder} or above it`;
  const path = placeOf(meant);
  const list = (some: Known[]) => some.map(({ record }) => `${record.source} (pid ${record.pid})`).join(", ");
  const beside = list(
    records.filter(({ record, runDir }) => record.folder === folder && lockHolder(runDir) !== undefined),
  );
  // A fleet whose supervisor was killed may have left processes running.
  const same = list(records.filter(({ record }) => record.endedAt === null && leadsTo(path, record)));
  const elsewhere = same === "" ? "" : `; it points to the fleet of ${same}: name that path`;
  return `nothing is running from ${path}${beside === "" ? elsewhere : `; the fleet of that folder is ${beside}`}`;
}

/**
 * Returns a line that names the other users (the folder's owner, root) who run or may run the fleet; undefined if there are none.
 * @param source the config that was named; without one, the config of `folder`
 */
function fleetsOfOthers(
  source: string | undefined,
  folder: string,
  environment: NodeJS.ProcessEnv,
): string | undefined {
  const path = source ?? findConfigFile(folder);
  if (path === undefined) return undefined;
  const own = process.getuid?.();
  for (const { user, state } of candidates(folder, environment)) {
    if (user === own) continue;
    const runDir = join(state, runDirName({ source: path }));
    const seen = look(runDir);
    if (seen === "missing") continue;
    const name = userName(user);
    if (own === 0) return `root has no fleet of ${path}, but ${name} has one: use --run-dir ${runDir}`;
    return seen === "there"
      ? `permission denied: the fleet of ${path} is ${name}'s; run this as that user: sudo -u ${name} paceline …`
      : `you have no fleet of ${path}; cannot check whether ${name} has one: permission denied on ${state}`;
  }
  return undefined;
}

function candidates(folder: string, environment: NodeJS.ProcessEnv): { user: number; state: string }[] {
  const found: { user: number; state: string }[] = [];
  const add = (user: number | undefined, state: string | undefined) => {
    if (user !== undefined && state !== undefined) found.push({ user, state });
  };
  const given = environment.PACELINE_STATE_DIR === undefined ? undefined : stateFolder(environment);
  if (given !== undefined) add(ownerOf(given), given);
  const owner = ownerOf(folder);
  if (owner !== undefined) add(owner, stateFolderOf(owner));
  add(0, stateFolderOf(0));
  return found;
}

/**
 * Returns whether a run directory is in use. The directory outlives its fleet, so it counts as in use only if a socket below it is, or if
 * that cannot be determined.
 */
function look(path: string): "there" | "missing" | "denied" {
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return "missing";
  } catch {
    return "denied";
  }
  // The sockets of a run directory with a long path are in another folder.
  if (!fitsSocketAddress(controlSocketIn(path))) return "there";
  return hasSocketBelow(path) === false ? "missing" : "there";
}
