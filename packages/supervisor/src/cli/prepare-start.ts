/** What a start needs before anything is started: the fleet, the runtimes and the run directory's place. */
import { type LoadedFleet, type LoadRequest, loadFleet } from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import { type FleetIdentity, identityOf, writtenCwd } from "../run-dir/identity.js";
import { runDirOf } from "../run-dir/place.js";
import { findRuntimes, type Runtimes } from "../runtimes.js";
import type { StartOptions } from "./commands/start.js";
import { readHandover } from "./handover.js";

export interface PreparedStart {
  fleet: LoadedFleet;
  request: LoadRequest;
  runtimes: Runtimes;
  identity: FleetIdentity;
  runDirPath: string;
}

/** @throws ConfigError, or PacelineError `cwd`, `rundir` */
export async function prepareStart(target: string, options: StartOptions): Promise<PreparedStart> {
  const runtimes = findRuntimes();
  const cwd = writtenCwd();
  const { instances, listen, runtime } = options;
  const environment = process.env as Record<string, string>;
  checkTarget(target, options);
  const request = {
    target,
    staticFolder: options.static,
    fapwsScript: options.fapws,
    cwd,
    overrides: { instances, listen, runtime },
    runtimes,
    environment,
    endsSoon: options.detach === true,
  };
  const { fleetFd } = options;
  const fleet = fleetFd === undefined ? await loadFleet(request) : readHandover(fleetFd);
  const identity = identityOf(fleet.source, cwd);
  return { fleet, request, runtimes, identity, runDirPath: runDirOf(identity, options.runDir, cwd, process.env) };
}

/** One thing is started. @throws ConfigError */
function checkTarget(target: string, options: StartOptions): void {
  const refuse = (message: string) => {
    throw new ConfigError([{ path: [], message }]);
  };
  if (options.static !== undefined && options.fapws !== undefined) refuse("--static cannot stand beside --fapws");
  if (target === ".") return;
  if (options.static !== undefined) refuse(`--static: ${target} is too much beside a folder of files`);
  if (options.fapws !== undefined) refuse(`--fapws: ${target} is too much beside a start script`);
}
