/** Prepares a start: the fleet, the runtimes and the path of the run directory. */

import { type FleetIdentity, identityOf, writtenCwd } from "../config/identity.js";
import { type LoadedFleet, type LoadRequest, loadFleet } from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import { runDirOf } from "../run-dir/place.js";
import { findRuntimes, type Runtimes } from "../runtime/runtimes.js";
import { readHandover } from "./handover.js";
import type { StartOptions } from "./options.js";

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
  const { instances, listen, runtime, python, scriptArgs: args } = options;
  const environment = process.env as Record<string, string>;
  checkTarget(target, options);
  const request = {
    target,
    staticFolder: options.static,
    fapwsScript: options.fapws,
    pythonApp: pythonAppOf(options),
    cwd,
    overrides: { instances, listen, runtime, python, args },
    runtimes,
    environment,
    endsSoon: options.detach === true,
  };
  const { fleetFd } = options;
  const fleet = fleetFd === undefined ? await loadFleet(request) : readHandover(fleetFd);
  const identity = identityOf(fleet.source, cwd);
  return { fleet, request, runtimes, identity, runDirPath: runDirOf(identity, options.runDir, cwd, process.env) };
}

function pythonAppOf({ wsgi, asgi }: StartOptions): LoadRequest["pythonApp"] {
  if (wsgi !== undefined) return { kind: "wsgi", app: wsgi };
  return asgi === undefined ? undefined : { kind: "asgi", app: asgi };
}

const WHAT = { static: "a folder of files", fapws: "a start script", wsgi: "a WSGI app", asgi: "an ASGI app" } as const;

/** Checks that the options name only one thing to start. @throws ConfigError */
function checkTarget(target: string, options: StartOptions): void {
  const refuse = (message: string) => {
    throw new ConfigError([{ path: [], message }]);
  };
  const given = (Object.keys(WHAT) as (keyof typeof WHAT)[]).filter((name) => options[name] !== undefined);
  const [first, second] = given;
  if (second !== undefined) refuse(`--${first} cannot be combined with --${second}`);
  if (options.python !== undefined && (first === undefined || first === "static"))
    refuse("--python needs --wsgi, --asgi or --fapws; in a config, set the key `python`");
  const hint = first === "fapws" ? " (arguments of the script follow after --)" : "";
  if (target !== "." && first !== undefined)
    refuse(`--${first}: ${target} is one argument too many beside ${WHAT[first]}${hint}`);
}
