/** Finds out whether another user may own the fleet, so that a fleet that cannot be inspected is not reported as stopped. */
import { lstatSync, statSync } from "node:fs";
import { join } from "node:path";
import { hasSocketBelow } from "@paceline/wire/socket-file";
import { findConfigFile } from "../config/find.js";
import { runDirName } from "../config/identity.js";
import { fitsSocketAddress } from "../config/listen-address.js";
import { stateFolder, stateFolderOf } from "../run-dir/place.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import { userName } from "../run-dir/trust.js";

/**
 * Returns a line that names the other users (the folder's owner, root) who run or may run the fleet; undefined if none.
 * @param source the config that was named; without one, that of `folder`
 */
export function fleetsOfOthers(
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
