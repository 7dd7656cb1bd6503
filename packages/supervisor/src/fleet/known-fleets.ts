/**
 * The fleets that the caller may use: their run directories, and the state in each. Only those are trusted that no other user can write to.
 */
import { lstatSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { writtenCwd } from "../config/identity.js";
import { type FleetFile, readFleetFile } from "../run-dir/fleet-file.js";
import { handOverIn } from "../run-dir/hand-over.js";
import { lockHolder, wasLocked } from "../run-dir/lock.js";
import { findOrphans } from "../run-dir/orphans.js";
import {
  listOpenRunDirs,
  listRunDirs,
  listServiceRunDirs,
  namedRunDir,
  stateFolder,
  stateFolderOf,
} from "../run-dir/registry.js";
import { controlSocketIn, isListening } from "../run-dir/run-dir.js";
import { allowedOwner, type Distrust, distrust, NOT_WRITABLE, userName, usersWithHome } from "../run-dir/trust.js";

export interface FoundFleet {
  runDir: string;
  controlSocket: string;
  record: FleetFile | undefined;
  state: "up" | "starting" | "upgrading" | "orphaned" | "down";
  /** The other user's name when root uses their fleet; undefined for the caller's own. */
  owner: string | undefined;
  /** Why the folder of the control socket is not trusted, so that the socket is never used. */
  doubt?: Distrust | undefined;
}

/** Reads the state of the fleet in a trusted run directory. */
export async function inspect(runDir: string): Promise<FoundFleet> {
  const record = readFleetFile(runDir);
  const controlSocket = record?.controlSocket ?? controlSocketIn(runDir);
  const fleet = { runDir, record, controlSocket, owner: ownerNameOf(runDir) };
  const { uid } = lstatSync(runDir);
  // If the run directory's path is too long, its sockets are in another folder, which must also be trusted.
  const found = distrust(dirname(controlSocket), { uid });
  if (found === undefined && (await isListening(controlSocket))) return { ...fleet, state: "up" };
  if (handOverIn(runDir) !== undefined) return { ...fleet, state: "upgrading" };
  // A missing folder may be about to be created.
  const doubt = found?.code === "missing" ? undefined : found;
  // Read first, because a supervisor may lock the directory meanwhile.
  const hadLock = wasLocked(runDir);
  if (lockHolder(runDir) !== undefined) return { ...fleet, state: "starting", doubt };
  if (findOrphans(channelSocketOf(fleet)).length === 0) return { ...fleet, state: "down" };
  // Somebody removed the directory, and only the log is written there until the supervisor notices that.
  return { ...fleet, state: hadLock ? "orphaned" : "starting" };
}

/** Returns the path of the control channel's socket, to which the fleet's children connect. */
export function channelSocketOf({ record, runDir }: Pick<FoundFleet, "record" | "runDir">): string {
  return record?.channelSocket ?? resolve(runDir, "channel.sock");
}

export function nameOf({ record, runDir }: FoundFleet): string {
  return record?.source ?? runDir;
}

/** A user and the folder of their run directories. */
interface User {
  uid: number;
  state: string;
}

/**
 * Returns the fleets of this user that have a process, by name, including that of PACELINE_RUN_DIR, and for root those of `users`. `doubt`
 * is why the list may be incomplete, for example because a user has no home directory.
 * @param isAll includes fleets without a process
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

interface Listed {
  runDirs: string[];
  /** Run directories that other users can write to, which are not used. */
  open?: string[];
  /** A hint if the list may be incomplete. */
  doubt?: string;
  isNew?: boolean;
}

/** Lists this user's run directories. */
export function listOwn(environment: NodeJS.ProcessEnv): Listed {
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
  return { runDirs: listRunDirs(folder), open: listOpenRunDirs(folder) };
}

/** Returns the name of a run directory's owner; undefined if that is the caller. */
function ownerNameOf(runDir: string): string | undefined {
  const uid = ownerOf(runDir);
  return uid === undefined || uid === process.getuid?.() ? undefined : userName(uid);
}

export function ownerOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.uid;
}
