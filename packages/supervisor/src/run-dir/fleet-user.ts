/** The user that a fleet started by root runs as: this user owns the run directory, and the supervisor switches to it permanently. */
import { accessSync, chmodSync, chownSync, constants, lchownSync, lstatSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { LoadedFleet } from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import type { FleetConfig, FleetUser } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { lockHolder, runningIn } from "./lock.js";
import { LASTING } from "./registry.js";
import { distrust, HOW_TO_NAME, makeFolder, userName } from "./trust.js";

/**
 * Returns the user to switch to; undefined if the fleet keeps its user.
 * @throws ConfigError if this process is not allowed to switch
 */
export function userToBecome({
  config: { user },
  source,
}: Pick<LoadedFleet, "config" | "source">): FleetUser | undefined {
  if (user === null) return undefined;
  const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
  if (uid === user.uid && (gid === user.gid || user.group === null)) return undefined;
  if (uid === 0) return user;
  const sudo = `sudo -u ${user.name}${user.group === null ? "" : ` -g ${user.group}`} paceline start`;
  const me = uid === undefined ? "this system" : userName(uid);
  const message = `${me} cannot start a fleet of the user ${user.name}: start it as root, or as that user: ${sudo}`;
  throw new ConfigError([{ ...(source.kind === "config" && { file: source.file }), path: ["user"], message }]);
}

/**
 * Creates a run directory for the user as root, or gives an existing one to the user.
 * @throws PacelineError `running` if a supervisor runs there; `rundir` if the directory belongs to another user
 */
export function claimRunDir(path: string, { uid, gid, name }: FleetUser): void {
  makeFolder(dirname(path), 0o755);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    mkdirSync(path, { mode: 0o700 });
    lchownSync(path, uid, gid);
    return;
  }
  if (stat.isDirectory() && stat.uid === uid) return;
  const found = distrust(path, { uid: 0 });
  if (found !== undefined) {
    const former = found.owner === undefined ? "" : `, from a start with another \`user\` than ${name}`;
    throw new PacelineError("rundir", `${found.reason}${former}; remove it, or ${HOW_TO_NAME}`);
  }
  const holder = lockHolder(path);
  if (holder !== undefined) throw runningIn(path, holder.pid);
  // Only root could write there, so nobody else can have put a link into it.
  giveAll(path, uid, gid);
}

/** Creates the folder for request and response bodies, if it is missing and the user could not create it. */
export function claimSpool({ balancer: { spoolDir } }: FleetConfig, { uid, gid }: FleetUser): void {
  if (spoolDir === null || lstatSync(spoolDir, { throwIfNoEntry: false }) !== undefined) return;
  makeFolder(dirname(spoolDir), 0o755);
  mkdirSync(spoolDir, { mode: 0o700 });
  lchownSync(spoolDir, uid, gid);
}

/** Creates a folder for files that outlast a reboot, such as death reports, if it is in a place where the user could not create it. */
export function claimLasting(folder: string, runDir: string, { uid, gid }: FleetUser): void {
  const parent = dirname(folder);
  if (parent === runDir || lstatSync(folder, { throwIfNoEntry: false })?.uid === uid) return;
  makeFolder(parent, 0o711);
  // The user must be able to enter the folder, even if root has created it for another fleet.
  for (const each of dirname(parent) === LASTING ? [LASTING, parent] : [parent]) {
    const { mode, uid: owner } = lstatSync(each);
    if (owner === 0) chmodSync(each, (mode & 0o7777) | 0o111);
  }
  makeFolder(folder, 0o700);
  // If another user could have put links into a folder, its files keep their owners.
  if (distrust(folder, { uid: 0 }) === undefined) giveAll(folder, uid, gid);
}

function giveAll(path: string, uid: number, gid: number): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const each = join(path, entry.name);
    if (entry.isDirectory()) giveAll(each, uid, gid);
    else lchownSync(each, uid, gid);
  }
  chownSync(path, uid, gid);
}

/** Acts as the user until the returned function is called, which makes this process root again. */
export function actAs(user: Pick<FleetUser, "name" | "uid" | "gid">): () => void {
  const groups = process.getgroups?.() ?? [];
  const gid = process.getegid?.() ?? 0;
  takeGroups(user);
  process.setegid?.(user.gid);
  process.seteuid?.(user.uid);
  return () => {
    process.seteuid?.(0);
    process.setegid?.(gid);
    process.setgroups?.(groups);
  };
}

/**
 * If this process is root, it acts as the owner of the run directory `path` until the returned function is called; otherwise nothing
 * changes.
 */
export function actAsOwner(path: string): () => void {
  const { uid, gid } = lstatSync(path);
  if (process.geteuid?.() !== 0 || uid === 0) return () => {};
  return actAs({ name: userName(uid).replace(/^uid /, ""), uid, gid });
}

/**
 * Switches to the user permanently, with the environment of the user.
 * @throws PacelineError `user` if this process could still become root
 */
export function becomeUser(user: FleetUser): void {
  takeGroups(user);
  process.setgid?.(user.gid);
  process.setuid?.(user.uid);
  const ids = [process.getuid?.(), process.geteuid?.(), process.getgid?.(), process.getegid?.()];
  if (user.uid !== 0 && (isRootAgain(user) || ids.join() !== [user.uid, user.uid, user.gid, user.gid].join()))
    throw new PacelineError("user", `cannot become ${user.name} for good: the kernel keeps root's rights`);
  Object.assign(process.env, environmentOfUser(user));
}

function isRootAgain({ gid }: FleetUser): boolean {
  const attempts = [
    () => process.setuid?.(0),
    () => process.seteuid?.(0),
    ...(gid === 0 ? [] : [() => process.setgid?.(0)]),
  ];
  return attempts.some((attempt) => {
    try {
      attempt();
      return true;
    } catch {
      return false; // As it should be.
    }
  });
}

/** The Node type declarations do not have this method. */
type WithInitgroups = { initgroups?(user: string, extraGroup: number): void };

function takeGroups({ name, uid, gid }: Pick<FleetUser, "name" | "uid" | "gid">): void {
  // A user without an entry in the user database has no supplementary groups.
  if (name === String(uid)) process.setgroups?.([gid]);
  else (process as WithInitgroups).initgroups?.(name, gid);
}

/** Returns the variables that name a user: the same ones that systemd sets for a unit with User=. */
export function environmentOfUser({ name, home }: FleetUser): Record<string, string> {
  return { USER: name, LOGNAME: name, HOME: home ?? "/" };
}

/** Returns the files that the user of this process cannot read, or cannot execute. */
export function unusable(files: readonly string[], mode: "read" | "run" = "read"): string[] {
  const { R_OK, X_OK } = constants;
  return files.filter((file) => {
    try {
      accessSync(file, mode === "read" ? R_OK : R_OK | X_OK);
      return false;
    } catch {
      return true;
    }
  });
}
