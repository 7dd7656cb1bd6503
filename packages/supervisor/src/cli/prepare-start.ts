/** What a start needs before anything is started: the fleet, the runtimes and the run directory's place. */
import { dirname, resolve } from "node:path";
import { type LoadedFleet, type LoadRequest, loadFleet } from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import { findRuntimes, type Runtimes } from "../runtimes.js";
import { runDirCandidates } from "../shell/run-dir.js";
import type { StartOptions } from "./commands/start.js";

export interface PreparedStart {
  fleet: LoadedFleet;
  request: LoadRequest;
  runtimes: Runtimes;
  runDirPath: string;
}

/** @throws ConfigError */
export async function prepareStart(target: string, options: StartOptions): Promise<PreparedStart> {
  const runtimes = findRuntimes();
  const cwd = process.cwd();
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
  };
  const fleet = await loadFleet(request);
  const base = fleet.source.kind === "config" ? dirname(fleet.source.file) : cwd;
  const runDirPath = options.runDir === undefined ? runDirCandidates(base)[0] : resolve(cwd, options.runDir);
  return { fleet, request, runtimes, runDirPath: runDirPath as string };
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
