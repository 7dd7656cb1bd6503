/** Loads a fleet's configuration from where it is kept, with what the command line says laid over it. */
import { dirname } from "node:path";
import type { FleetConfig } from "../core/model.js";
import type { Runtimes } from "../runtimes.js";
import type { Overrides } from "./compose.js";
import { type FleetSource, fapwsSource, findSource, staticSource } from "./find.js";
import { loadInProcess } from "./load-process.js";

export interface LoadRequest {
  /** A config file, an app module, or a folder. Default: `cwd`. */
  target?: string | undefined;
  /** A folder whose files are served, in the place of a target. */
  staticFolder?: string | undefined;
  /** A FAPWS start script, in the place of a target. */
  fapwsScript?: string | undefined;
  cwd: string;
  overrides: Overrides;
  runtimes: Runtimes;
  /** What a config module sees as its environment. */
  environment: Record<string, string>;
  /** In milliseconds. */
  timeoutMs?: number;
}

export interface LoadedFleet {
  config: FleetConfig;
  source: FleetSource;
}

/**
 * The fleet that `request` means.
 * @throws ConfigError (code `config`) with every problem there is
 */
export async function loadFleet(request: LoadRequest): Promise<LoadedFleet> {
  const { cwd, overrides, runtimes, environment, timeoutMs } = request;
  const source = sourceOf(request);
  const folder = source.kind === "config" ? dirname(source.file) : cwd;
  const config = await loadInProcess({ source, cwd, overrides, runtimes }, { cwd: folder, environment, timeoutMs });
  return { config, source };
}

function sourceOf({ target, staticFolder, fapwsScript, cwd }: LoadRequest): FleetSource {
  if (staticFolder !== undefined) return staticSource(staticFolder, cwd);
  if (fapwsScript !== undefined) return fapwsSource(fapwsScript, cwd);
  return findSource(target, cwd);
}
