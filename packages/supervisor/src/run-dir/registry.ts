/** All run directories of one user: they lie in the state folder, or a link there leads to them. */
import { chmodSync, existsSync, lstatSync, readdirSync, readlinkSync, symlinkSync, unlinkSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { PacelineError } from "../errors.js";
import { type FleetIdentity, runDirName } from "./identity.js";
import { distrust, HOW_TO_NAME, makeFolder, NOT_WRITABLE } from "./trust.js";

/** More run directories than anybody has; what lies beyond is not looked at. */
const MAX_ENTRIES = 4096;

/** Makes the state folder if it is missing. Others may pass through root's, to see that a fleet is root's. @throws PacelineError `rundir` */
export function makeStateFolder(folder: string): void {
  makeFolder(dirname(folder), 0o700);
  if (!existsSync(folder)) {
    makeFolder(folder, 0o700);
    if (process.getuid?.() === 0) chmodSync(folder, 0o711);
  }
  const found = distrust(folder, { forbidden: NOT_WRITABLE });
  if (found !== undefined) throw new PacelineError("rundir", `${found.reason}; ${HOW_TO_NAME}`);
}

/** Leaves a link to a run directory that lies elsewhere; returns what removes it. */
export function registerElsewhere(folder: string, identity: FleetIdentity, runDir: string): () => void {
  const link = join(folder, runDirName(identity, `\0${runDir}`));
  try {
    makeStateFolder(folder);
    removeLink(link);
    symlinkSync(runDir, link);
  } catch {
    // A user without a home that can be written; the fleet is then found by its run directory alone.
    return () => {};
  }
  return () => removeLink(link);
}

function removeLink(path: string): void {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  unlinkSync(path);
}

/** The run directories that the state folder knows. Empty when it is not there, or not this user's alone. */
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
