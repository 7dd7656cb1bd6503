/** Chooses the place of a fleet's run directory: outside every release, and the same each time. */
import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { type FleetIdentity, runDirName } from "../config/identity.js";
import { PacelineError } from "../errors.js";
import { makeStateFolder } from "./registry.js";
import { HOW_TO_NAME, homeOf } from "./trust.js";

type Environment = NodeJS.ProcessEnv;

/** Returns the run directory of a fleet and creates its parent. @throws PacelineError `rundir` if there is no place for one */
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

/** Returns the directory that systemd created for the service (RuntimeDirectory=), the first if there are several. */
export function serviceRunDir({ RUNTIME_DIRECTORY = "" }: Environment): string | undefined {
  const [first = ""] = RUNTIME_DIRECTORY.split(":");
  return first.startsWith("/") ? resolve(first) : undefined;
}

/**
 * Returns the folder of this user's run directories: PACELINE_STATE_DIR; for root `/run/paceline`; otherwise
 * `$XDG_STATE_HOME/paceline`, by default `~/.local/state/paceline`. Unlike XDG_RUNTIME_DIR, it survives a logout.
 * @throws PacelineError `rundir` if the user has no home
 */
export function stateFolder(environment: Environment): string {
  const { PACELINE_STATE_DIR, XDG_STATE_HOME } = environment;
  if (PACELINE_STATE_DIR?.startsWith("/")) return resolve(PACELINE_STATE_DIR);
  const uid = process.getuid?.();
  if (uid === 0 && process.platform === "linux") return "/run/paceline";
  if (XDG_STATE_HOME?.startsWith("/")) return join(XDG_STATE_HOME, "paceline");
  return join(home(environment.HOME, uid), ".local/state/paceline");
}

/** Returns the same for another user; undefined if unknown. */
export function stateFolderOf(uid: number): string | undefined {
  if (uid === 0) return process.platform === "linux" ? "/run/paceline" : undefined;
  const home = homeOf(uid);
  return home === undefined ? undefined : join(home, ".local/state/paceline");
}

/** Returns HOME, unless it belongs to another user, as after a change of user that kept the environment. */
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
