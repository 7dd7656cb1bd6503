/** Finds the control socket of the fleet that a command means, from wherever it is called. */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { findSource } from "../config/find.js";
import { PacelineError } from "../errors.js";
import { controlSocketIn, runDirCandidates } from "../shell/run-dir.js";
import type { FleetOptions } from "./options.js";

/**
 * The socket in `--run-dir`; else of the fleet of `--config`; else of the nearest folder that has one, from the
 * working directory upward.
 * @throws PacelineError `not-running` when there is none
 */
export function findControlSocket(options: FleetOptions, cwd: string = process.cwd()): string {
  const found = candidates(options, cwd).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new PacelineError("not-running", "nothing is running here");
}

function candidates({ runDir, config }: FleetOptions, cwd: string): string[] {
  if (runDir !== undefined) return [controlSocketIn(resolve(cwd, runDir))];
  if (config !== undefined) {
    const source = findSource(config, cwd);
    const base = source.kind === "config" ? dirname(source.file) : cwd;
    return runDirCandidates(base).map(controlSocketIn);
  }
  const sockets: string[] = [];
  for (let folder = cwd; ; folder = dirname(folder)) {
    sockets.push(...runDirCandidates(folder).map(controlSocketIn));
    if (folder === dirname(folder)) return sockets;
  }
}
