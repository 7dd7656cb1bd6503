/** All run directories of one user: they are in the state folder, or a link there points to them. */
import { chmodSync, existsSync, lstatSync, readdirSync, readlinkSync, rmSync, symlinkSync, unlinkSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type FleetIdentity, runDirName } from "../config/identity.js";
import { PacelineError } from "../errors.js";
import { lockHolder } from "./lock.js";
import { readRecord } from "./record.js";
import { distrust, HOW_TO_NAME, makeFolder, NOT_WRITABLE } from "./trust.js";

/** How long the log of a fleet whose folder is gone is kept. */
const KEPT_MS = 24 * 3_600_000;
/** More run directories than anybody has; further entries are ignored. */
const MAX_ENTRIES = 4096;

/** Creates the state folder. Others may enter root's, to see which fleets are root's. @throws PacelineError `rundir` */
export function makeStateFolder(folder: string): void {
  makeFolder(dirname(folder), 0o700);
  if (!existsSync(folder)) {
    makeFolder(folder, 0o700);
    if (process.getuid?.() === 0) chmodSync(folder, 0o711);
  }
  const found = distrust(folder, { forbidden: NOT_WRITABLE });
  if (found !== undefined) throw new PacelineError("rundir", `${found.reason}; ${HOW_TO_NAME}`);
}

/** Creates a link to a run directory outside the state folder. Returns a function that removes it. */
export function registerElsewhere(folder: string, identity: FleetIdentity, runDir: string): () => void {
  const link = join(folder, runDirName(identity, `\0${runDir}`));
  try {
    makeStateFolder(folder);
    removeLink(link);
    symlinkSync(runDir, link);
  } catch {
    // Without a writable home the fleet can only be found by its run directory.
    return () => {};
  }
  return () => removeLink(link);
}

function removeLink(path: string): void {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  unlinkSync(path);
}

/**
 * Removes the run directories of fleets that stopped long ago and whose folder is gone, and dangling links. Keeps machines clean
 * on which many fleets are tried out.
 */
export function pruneRunDirs(folder: string, now = Date.now()): void {
  if (distrust(folder, { forbidden: NOT_WRITABLE }) !== undefined) return;
  for (const entry of readdirSync(folder, { withFileTypes: true }).slice(0, MAX_ENTRIES)) {
    const path = join(folder, entry.name);
    if (entry.isSymbolicLink() && !existsSync(path)) unlinkSync(path);
    if (!entry.isDirectory() || distrust(path) !== undefined || lockHolder(path) !== undefined) continue;
    const record = readRecord(path);
    if (record?.endedAt == null || existsSync(record.folder) || now - record.endedAt < KEPT_MS) continue;
    rmSync(path, { recursive: true, force: true });
  }
}

/** Lists the run directories in the state folder. Empty if the folder is missing, or not only this user's. */
export function listRunDirs(folder: string): string[] {
  if (distrust(folder, { forbidden: NOT_WRITABLE }) !== undefined) return [];
  return readdirSync(folder, { withFileTypes: true })
    .slice(0, MAX_ENTRIES)
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return [path];
      return entry.isSymbolicLink() ? [resolve(folder, readlinkSync(path))] : [];
    })
    .filter((path) => distrust(path) === undefined);
}
