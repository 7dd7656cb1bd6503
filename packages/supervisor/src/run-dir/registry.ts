/**
 * Finds all run directories of one user, which are in the state folder or linked from it, and decides where a fleet's run directory is:
 * outside every release.
 */
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { lostMarkPath } from "@paceline/wire";
import { attempt } from "@paceline/wire/proc";
import { type FleetIdentity, runDirName } from "../config/identity.js";
import { PacelineError } from "../errors.js";
import { hasFleetFile, readFleetFile } from "./fleet-file.js";
import { lockHolder } from "./lock.js";
import { findOrphans } from "./orphans.js";
import { allowedOwner, distrust, HOW_TO_NAME, homeOf, makeFolder, NOT_WRITABLE } from "./trust.js";

const DAY_MS = 24 * 3_600_000;
/** How long the log of a fleet is kept whose folder is gone. */
const KEPT_MS = DAY_MS;
/** The same if no end was recorded, as after a kill, or if there is no record, as after a failed start or on a full disk. */
const UNENDED_KEPT_MS = 30 * DAY_MS;
/** How long the files that outlast a reboot are kept if their fleet is not started again. */
const LASTING_KEPT_MS = 90 * DAY_MS;
/** The maximum number of run directories, which is more than any user has. Further entries are ignored. */
const MAX_ENTRIES = 4096;

/**
 * Creates the state folder. Other users may read root's state folder, to see which fleets belong to root.
 * @throws PacelineError `rundir`
 */
function makeStateFolder(folder: string): void {
  makeFolder(dirname(folder), 0o700);
  if (!existsSync(folder)) {
    makeFolder(folder, 0o700);
    if (process.getuid?.() === 0) chmodSync(folder, 0o711);
  }
  const found = distrust(folder, { forbidden: NOT_WRITABLE });
  if (found !== undefined) throw new PacelineError("rundir", `${found.reason}; ${HOW_TO_NAME}`);
}

/** Creates a link to a run directory outside the state folder. Returns a function that removes the link. */
export function registerElsewhere(folder: string, identity: FleetIdentity, runDir: string): () => void {
  const link = join(folder, runDirName(identity, `\0${runDir}`));
  try {
    makeStateFolder(folder);
    removeLink(link);
    symlinkSync(runDir, link);
  } catch {
    // Without a writable home directory, the fleet can only be found by its run directory.
    return () => {};
  }
  return () => removeLink(link);
}

function removeLink(path: string): void {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  rmSync(path, { force: true });
}

/**
 * Removes the run directories of fleets that ended long ago and whose folder is gone, the run directories of failed starts, and dangling
 * links. Otherwise they would accumulate on machines where many fleets are tried out.
 */
export function pruneRunDirs(folder: string, now = Date.now()): void {
  if (distrust(folder, { forbidden: NOT_WRITABLE }) !== undefined) return;
  for (const entry of readdirSync(folder, { withFileTypes: true }).slice(0, MAX_ENTRIES)) {
    const path = join(folder, entry.name);
    if (entry.isSymbolicLink() && !existsSync(path)) rmSync(path, { force: true });
    if (!entry.isDirectory() || distrust(path, { uid: allowedOwner(path) }) !== undefined) continue;
    if (isForgotten(path, now)) rmSync(path, { recursive: true, force: true });
  }
  if (folder === ROOTS_FOLDER) pruneLasting(ROOTS_FOLDER, LASTING, now);
}

/** Whether nothing is running in a run directory, and its files will not be needed any more. */
function isForgotten(path: string, now: number): boolean {
  if (lockHolder(path) !== undefined) return false;
  const record = readFleetFile(path);
  if (record === undefined) {
    // A record that this version cannot read belongs to another version, and a folder without a lock is not a run directory.
    const isOurs = !hasFleetFile(path) && namesIn(path).some((name) => name.startsWith("lock."));
    return isOurs && now - lastSign(path) >= UNENDED_KEPT_MS && !isServed(join(path, "channel.sock"));
  }
  if (existsSync(record.folder)) return false;
  if (record.endedAt !== null) return now - record.endedAt >= KEPT_MS;
  return now - lastSign(path, record.channelSocket) >= UNENDED_KEPT_MS && !isServed(record.channelSocket);
}

/** Whether processes of a killed supervisor are still running. */
function isServed(channelSocket: string): boolean {
  return findOrphans(channelSocket).length > 0;
}

/** Returns when a fleet without a supervisor last wrote something. */
function lastSign(path: string, channelSocket = join(path, "channel.sock")): number {
  const files = ["fleet.json", "state.json", "log/paceline.log"].map((name) => join(path, name));
  return latest([path, ...files, lostMarkPath(channelSocket)]);
}

/**
 * Returns when the supervisor of a fleet that now has none was running for the last time, as far as known, in Unix time; 0 if nothing shows
 * it. Starts that fail write neither of these files.
 */
export function supervisorSeenAt(path: string, channelSocket: string): number {
  return Math.round(latest([join(path, "state.json"), lostMarkPath(channelSocket)]));
}

/**
 * Returns when a fleet that was killed as a whole was running for the last time, as far as known, in Unix time; 0 if nothing shows it.
 * @param folder the name of the folder of its output files; if none is given, they are not considered
 */
export function fleetSeenAt(path: string, channelSocket: string, folder?: string): number {
  const outputs = folder === undefined ? [] : namesIn(join(path, folder)).filter((name) => name.endsWith(".out"));
  const files = ["log/paceline.log", ...outputs.map((name) => join(folder ?? "", name))];
  return Math.max(supervisorSeenAt(path, channelSocket), Math.round(latest(files.map((name) => join(path, name)))));
}

function latest(paths: readonly string[]): number {
  return Math.max(0, ...paths.map((path) => lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0));
}

function namesIn(folder: string): string[] {
  // Another start may have removed the folder.
  return attempt(() => readdirSync(folder)) ?? [];
}

/** Removes the death reports and histories of fleets that have not been started for a long time. */
export function pruneLasting(runDirs: string, lasting: string, now = Date.now()): void {
  for (const name of namesIn(lasting).slice(0, MAX_ENTRIES)) {
    const path = join(lasting, name);
    if (existsSync(join(runDirs, name)) || distrust(path, { uid: allowedOwner(path) }) !== undefined) continue;
    const names = namesIn(path);
    // The programs of the executable are in the same folder. They must not be removed.
    if (!names.every((each) => LASTING_NAMES.includes(each))) continue;
    if (now - latest([path, ...names.map((each) => join(path, each))]) < LASTING_KEPT_MS) continue;
    for (const each of names) rmSync(join(path, each), { recursive: true, force: true });
    attempt(() => rmdirSync(path));
  }
}

/**
 * The folder in which systemd creates the run directories of units that `paceline export systemd` prints, and the prefix of their names.
 */
const SERVICES = "/var/lib";
export const SERVICE_PREFIX = "paceline-";

/** Lists the run directories of this user's units. */
export function listServiceRunDirs(): string[] {
  try {
    const names = readdirSync(SERVICES).filter((name) => name.startsWith(SERVICE_PREFIX));
    return names
      .slice(0, MAX_ENTRIES)
      .map((name) => join(SERVICES, name))
      .filter((path) => distrust(path) === undefined);
  } catch {
    return []; // Not Linux.
  }
}

/** Lists the run directories in a state folder of `uid`. Empty if the folder is missing, or if another user owns it or can write to it. */
export function listRunDirs(folder: string, uid = process.getuid?.()): string[] {
  return runDirsIn(folder, uid)
    .filter(({ path, owner }) => distrust(path, { uid: owner }) === undefined)
    .map(({ path }) => path);
}

/** Lists the run directories of this user that others can read but not change: they are listed, but not used. */
export function listOpenRunDirs(folder: string): string[] {
  return runDirsIn(folder, process.getuid?.())
    .filter(({ path, owner }) => distrust(path, { uid: owner })?.code === "untrusted")
    .filter(({ path, owner }) => distrust(path, { uid: owner, forbidden: NOT_WRITABLE }) === undefined)
    .map(({ path }) => path);
}

/** @returns `owner`: the user that the run directory may belong to */
function runDirsIn(folder: string, uid: number | undefined): { path: string; owner: number | undefined }[] {
  if (distrust(folder, { uid, forbidden: NOT_WRITABLE }) !== undefined) return [];
  return (
    readdirSync(folder, { withFileTypes: true })
      .slice(0, MAX_ENTRIES)
      .flatMap((entry) => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return [path];
        const target = entry.isSymbolicLink() ? targetOf(path) : undefined;
        return target === undefined ? [] : [resolve(folder, target)];
      })
      // Root created the folders in its state folder for the users that its fleets run as.
      .map((path) => ({ path, owner: uid === 0 ? allowedOwner(path) : uid }))
  );
}

function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined; // Its fleet has just stopped.
  }
}

type Environment = NodeJS.ProcessEnv;

/** The folder of root's run directories. */
const ROOTS_FOLDER = "/run/paceline";

/**
 * Returns the run directory of a fleet and creates its parent folder.
 * @throws PacelineError `rundir` if there is no place for a run directory
 */
export function runDirOf(
  identity: FleetIdentity,
  option: string | undefined,
  cwd: string,
  environment: Environment,
): string {
  const given = namedRunDir(option, cwd, environment) ?? serviceRunDir(environment);
  if (given !== undefined) return given;
  const folder = stateFolder(environment);
  makeStateFolder(folder);
  return join(folder, runDirName(identity));
}

/** Returns the run directory that the caller named. */
export function namedRunDir(option: string | undefined, cwd: string, environment: Environment): string | undefined {
  const named = option ?? (environment.PACELINE_RUN_DIR || undefined);
  return named === undefined ? undefined : resolve(cwd, named);
}

/** Returns the directory that systemd created for the service (RuntimeDirectory=, systemd.exec(5)); the first one if there are several. */
export function serviceRunDir({ RUNTIME_DIRECTORY = "" }: Environment): string | undefined {
  const [first = ""] = RUNTIME_DIRECTORY.split(":");
  return first.startsWith("/") ? resolve(first) : undefined;
}

/** Where root's fleets keep files that outlast a reboot: /run does not outlast it. */
export const LASTING = "/var/lib/paceline";
const LASTING_NAMES = ["deaths", "history", "tls"];

/** Returns the folder for files that a fleet keeps over reboots: usually its run directory. */
export function lastingFolderOf(runDir: string, environment: Environment): string {
  const [state = ""] = (environment.STATE_DIRECTORY ?? "").split(":");
  if (state.startsWith("/") && serviceRunDir(environment) === runDir) return resolve(state);
  return dirname(runDir) === ROOTS_FOLDER ? join(LASTING, basename(runDir)) : runDir;
}

/**
 * Returns the folder of this user's run directories: PACELINE_STATE_DIR; for root `/run/paceline`; otherwise `$XDG_STATE_HOME/paceline`, by
 * default `~/.local/state/paceline`. Unlike XDG_RUNTIME_DIR, it survives a logout.
 * @throws PacelineError `rundir` if the user has no home directory
 */
export function stateFolder(environment: Environment): string {
  const { PACELINE_STATE_DIR, XDG_STATE_HOME } = environment;
  if (PACELINE_STATE_DIR?.startsWith("/")) return resolve(PACELINE_STATE_DIR);
  const uid = process.getuid?.();
  if (uid === 0 && process.platform === "linux") return ROOTS_FOLDER;
  if (XDG_STATE_HOME?.startsWith("/")) return join(XDG_STATE_HOME, "paceline");
  return join(home(environment.HOME, uid), ".local/state/paceline");
}

/** Returns the same folder for another user; undefined if it cannot be determined. */
export function stateFolderOf(uid: number): string | undefined {
  if (uid === 0) return process.platform === "linux" ? ROOTS_FOLDER : undefined;
  const home = homeOf(uid);
  return home === undefined ? undefined : join(home, ".local/state/paceline");
}

/** Returns HOME, unless it belongs to another user: a change of user may have kept the environment. */
function home(given: string | undefined, uid: number | undefined): string {
  const known = uid === undefined ? undefined : homeOf(uid);
  const candidates = [given, known].filter((path) => path?.startsWith("/")) as string[];
  const own = candidates.find((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && (uid === undefined || stat.uid === uid);
  });
  const found = own ?? candidates[0];
  if (found !== undefined) return found;
  throw new PacelineError("rundir", `this user has no home directory in which to keep a run directory; ${HOW_TO_NAME}`);
}
