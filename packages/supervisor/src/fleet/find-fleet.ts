/** Finds the fleet that a command refers to. Only trusts run directories that no other user can write to. */
import { lstatSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { hasSocketBelow } from "@paceline/wire/socket-file";
import { type FleetSource, findConfigFile, findSource, kindOf, placeOf } from "../config/find.js";
import { runDirName, writtenCwd } from "../config/identity.js";
import { fitsSocketAddress } from "../config/listen-address.js";
import { PacelineError } from "../errors.js";
import { handOverIn, handOverText } from "../run-dir/hand-over.js";
import { isStopped, lockHolder } from "../run-dir/lock.js";
import { describeOrphans, findOrphans } from "../run-dir/orphans.js";
import { type FleetRecord, readRecord } from "../run-dir/record.js";
import {
  listRunDirs,
  listServiceRunDirs,
  namedRunDir,
  serviceRunDir,
  stateFolder,
  stateFolderOf,
} from "../run-dir/registry.js";
import { controlSocketIn, isListening } from "../run-dir/run-dir.js";
import { allowedOwner, distrust, NOT_WRITABLE, userName, usersWithHome } from "../run-dir/trust.js";
import type { FleetChoice } from "./api.js";

export interface FoundFleet {
  runDir: string;
  controlSocket: string;
  record: FleetRecord | undefined;
  state: "up" | "starting" | "upgrading" | "orphaned" | "down";
  /** The other user's name when root uses their fleet; undefined for the caller's own. */
  owner: string | undefined;
}

/** A supervisor serves its control socket soon after it has taken its lock, and releases the lock soon after it has closed that socket. */
const STARTING_MS = 10_000;
const LOOK_EVERY_MS = 50;

/**
 * Finds the fleet that the options select, and waits for one that is just starting or ending.
 * @throws PacelineError like `findFleet`
 */
export async function findSettledFleet(options: FleetChoice): Promise<FoundFleet> {
  const deadline = performance.now() + STARTING_MS;
  for (;;) {
    const fleet = await findFleet(options);
    const isStill = isStopped(lockHolder(fleet.runDir)?.pid);
    if (fleet.state !== "starting" || isStill || performance.now() >= deadline) return fleet;
    await sleep(LOOK_EVERY_MS);
  }
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
      throw new PacelineError("not-running", `${nameOf(fleet)} is starting and does not respond yet`);
    case "upgrading": {
      const handOver = handOverIn(runDir);
      // It has just ended.
      if (handOver === undefined) return findRunningFleet(options);
      throw new PacelineError("busy", handOverText(nameOf(fleet), handOver));
    }
    case "orphaned": {
      const link = linkOf(fleet);
      throw new PacelineError("orphaned", describeOrphans(runDir, record, link, findOrphans(link).length));
    }
    case "down": {
      const killed = record !== undefined && record.endedAt === null;
      const ended = killed ? `its supervisor (pid ${record.pid}) was killed` : "the fleet has stopped";
      const last = record === undefined ? `in ${runDir}` : `from ${record.source}: ${ended}`;
      throw new PacelineError("not-running", `nothing is running ${last}`);
    }
    default:
      return state satisfies never;
  }
}

/**
 * Finds the fleet of `--run-dir` or PACELINE_RUN_DIR; otherwise of `--config`; otherwise the one started in the nearest folder
 * from the working directory upward. Returns a stopped fleet only if no running one matches.
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
  const isOfService = service !== undefined && distrust(service) === undefined && readRecord(service) !== undefined;
  if (isOfService && meant === undefined) return inspect(service);
  const own = listOwn(environment);
  // A link in the state folder may lead to the same run directory as the service's.
  const runDirs = new Set([...(isOfService ? [service] : []), ...own.runDirs]);
  const known = [...runDirs].map((runDir) => ({ runDir, record: readRecord(runDir) }));
  const records = known.flatMap(({ runDir, record }) => (record === undefined ? [] : [{ runDir, record }]));
  const folder = meant === undefined ? cwd : folderOf(meant, cwd);
  const matching = meant === undefined ? nearest(records, cwd) : meantBy(options.config ?? "", meant, records);
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
  const unread = await withoutRecord([...runDirs], meant === undefined ? configsFrom(cwd) : [placeOf(meant)]);
  if (unread !== undefined) return unread;
  const doubt = own.doubt === undefined ? "" : `; ${own.doubt}`;
  throw new PacelineError("not-running", nothing(meant, folder, records) + doubt);
}

/** Returns the fleet that a run directory without a readable record has by its name, if a process of it runs. */
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

/** Returns the config files of this folder and those above it, the nearest first. */
function configsFrom(folder: string): string[] {
  return [findConfigFile(folder) ?? [], folder === "/" ? [] : configsFrom(dirname(folder))].flat();
}

/** Returns the fleets started from this path; without such a file, those of that name. */
function meantBy(config: string, meant: FleetSource, records: Known[]): Known[] {
  const started = records.filter(({ record }) => isSource(record, meant));
  if (started.length > 0 || kindOf(placeOf(meant)) !== "nothing") return started;
  return records.filter(({ record }) => record.name === config);
}

/** A user and the folder of their run directories. */
interface User {
  uid: number;
  state: string;
}

/**
 * Returns the fleets of this user that have a process, by name; also that of PACELINE_RUN_DIR, and for root those of `users`. `doubt` says
 * why the list may be incomplete, for example of a user without a home directory.
 * @param isAll also fleets without a process
 */
export async function listFleets(
  environment: NodeJS.ProcessEnv = process.env,
  users: readonly User[] = otherUsers(),
  isAll = false,
): Promise<{ fleets: FoundFleet[]; doubt?: string | undefined }> {
  const named = namedRunDir(undefined, writtenCwd(environment), environment);
  const own = listOwn(environment);
  const runDirs = new Set([...(named === undefined ? [] : [named]), ...own.runDirs]);
  const trusted = [...runDirs]
    .filter((runDir) => distrust(runDir, { uid: allowedOwner(runDir) }) === undefined)
    .map((runDir) => ({ runDir, owner: ownerNameOf(runDir) }));
  const foreign = users.flatMap(({ uid, state }) =>
    listRunDirs(state, uid).map((runDir) => ({ runDir, owner: userName(uid) })),
  );
  const found = await Promise.all(
    // A run directory may be removed meanwhile.
    [...new Map([...trusted, ...foreign].map((each) => [each.runDir, each])).values()]
      .map(async ({ runDir, owner }) => ({ ...(await inspect(runDir)), owner }))
      .map((each) => each.catch(() => undefined)),
  );
  const isListed = ({ state, record }: FoundFleet) => state !== "down" || (isAll && record !== undefined);
  const fleets = found.filter((fleet) => fleet !== undefined && isListed(fleet)) as FoundFleet[];
  return { fleets: fleets.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)), doubt: own.isNew ? undefined : own.doubt };
}

/** Root may use the fleets of all users; their default folders are known. */
function otherUsers(): User[] {
  if (process.getuid?.() !== 0) return [];
  return usersWithHome().flatMap((uid) => {
    const state = uid === 0 ? undefined : stateFolderOf(uid);
    return state === undefined ? [] : [{ uid, state }];
  });
}

interface Known {
  runDir: string;
  record: FleetRecord;
}

interface Listed {
  runDirs: string[];
  /** A hint if the list may be incomplete. */
  doubt?: string;
  isNew?: boolean;
}

/** Lists this user's run directories. */
function listOwn(environment: NodeJS.ProcessEnv): Listed {
  const listed = listInState(environment);
  return { ...listed, runDirs: [...new Set([...listed.runDirs, ...listServiceRunDirs()])] };
}

function listInState(environment: NodeJS.ProcessEnv): Listed {
  const unseen = "if the fleet was started with --run-dir, name it with --run-dir again or PACELINE_RUN_DIR";
  let folder: string;
  try {
    folder = stateFolder(environment);
  } catch {
    return { runDirs: [], doubt: unseen }; // The user has no home directory.
  }
  const found = distrust(folder, { forbidden: NOT_WRITABLE });
  if (found?.code === "missing") return { runDirs: [], doubt: unseen, isNew: true };
  // Other users can write to this folder, so its entries cannot be trusted.
  if (found !== undefined) return { runDirs: [], doubt: `the fleets in ${folder} are ignored: ${found.reason}` };
  return { runDirs: listRunDirs(folder) };
}

/** Accepts a config file that has been deleted, or is none any more: its path still identifies the fleet. */
function sourceOf(config: string, cwd: string): FleetSource {
  const path = resolve(cwd, config);
  const kind = kindOf(path);
  if (kind === "nothing" || kind === "other") return { kind: "static", folder: path };
  if (kind === "file") return findSource(config, cwd);
  const file = findConfigFile(path);
  return file === undefined ? { kind: "static", folder: path } : { kind: "config", file };
}

function folderOf(source: FleetSource, cwd: string): string {
  return source.kind === "config" ? dirname(source.file) : cwd;
}

/** Compares paths as text: `current` and the release it links to are the sources of two different fleets. */
function isSource({ source, folder }: FleetRecord, meant: FleetSource): boolean {
  const path = placeOf(meant);
  return source === path || (meant.kind === "static" && folder === path);
}

/** Returns the fleets whose folder, as written or resolved, is the nearest one that contains `cwd`. */
function nearest(records: Known[], cwd: string): Known[] {
  const here = [cwd, realPath(cwd) ?? cwd];
  const depth = ({ folder, release }: FleetRecord) => {
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
function leadsTo(path: string, { source, folder }: FleetRecord): boolean {
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
  if (found?.code === "missing")
    throw new PacelineError("not-running", `nothing is running in ${path}: there is no such directory`);
  if (found !== undefined) throw new PacelineError("denied", refusalOf(found.reason, found.owner));
  const fleet = await inspect(path);
  const { record } = fleet;
  if (meant === undefined || record === undefined || isSource(record, meant)) return fleet;
  throw new PacelineError("not-running", `${path} is the run directory of ${record.source}, not of ${placeOf(meant)}`);
}

/** Returns the name of a run directory's owner; undefined if that is the caller. */
function ownerNameOf(runDir: string): string | undefined {
  const uid = ownerOf(runDir);
  return uid === undefined || uid === process.getuid?.() ? undefined : userName(uid);
}

function refusalOf(reason: string, owner: number | undefined): string {
  if (reason.startsWith("permission denied")) return reason;
  const hint = owner === undefined ? "" : `; run this as that user: sudo -u ${userName(owner)} paceline …`;
  return `permission denied: ${reason}${hint}`;
}

/** Reads the state of the fleet in a trusted run directory. */
async function inspect(runDir: string): Promise<FoundFleet> {
  const record = readRecord(runDir);
  const controlSocket = record?.controlSocket ?? controlSocketIn(runDir);
  const fleet = { runDir, record, controlSocket, owner: ownerNameOf(runDir) };
  const { uid } = lstatSync(runDir);
  // If the run directory's path is too long, its sockets are in another folder, which must be trusted too.
  const isBelieved = distrust(dirname(controlSocket), { uid }) === undefined;
  if (isBelieved && (await isListening(controlSocket))) return { ...fleet, state: "up" };
  if (handOverIn(runDir) !== undefined) return { ...fleet, state: "upgrading" };
  if (lockHolder(runDir) !== undefined) return { ...fleet, state: "starting" };
  return { ...fleet, state: findOrphans(linkOf(fleet)).length > 0 ? "orphaned" : "down" };
}

/** Returns the path of the control channel socket that the fleet's children connect to. */
export function linkOf({ record, runDir }: Pick<FoundFleet, "record" | "runDir">): string {
  return record?.channelSocket ?? resolve(runDir, "channel.sock");
}

function nameOf({ record, runDir }: FoundFleet): string {
  return record?.source ?? runDir;
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
 * Returns a line that names the other users (the folder's owner, root) who run or may run the fleet; undefined if none.
 * @param source the config that was named; without one, that of `folder`
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

function ownerOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.uid;
}

/**
 * Reports whether a run directory exists. The directory outlives its fleet, so it counts only if a socket is in use below it, or
 * if that cannot be determined.
 */
function look(path: string): "there" | "missing" | "denied" {
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return "missing";
  } catch {
    return "denied";
  }
  // The sockets of a long path are in another folder.
  if (!fitsSocketAddress(controlSocketIn(path))) return "there";
  return hasSocketBelow(path) === false ? "missing" : "there";
}
