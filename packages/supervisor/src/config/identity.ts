/** A fleet's identity: the path of its config in the form of the operator, which a new release does not change. */
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { basename, dirname, normalize } from "node:path";
import { PacelineError } from "../errors.js";
import { type FleetSource, placeOf } from "./find.js";

export interface FleetIdentity {
  /** The absolute path of the config file or, without one, of the app, folder or script. Symbolic links are not followed. */
  source: string;
  /** Commands that name no fleet use this fleet in this folder and below. */
  folder: string;
}

const MAX_NAME_LENGTH = 20;

/**
 * Returns the working directory in the form of the operator's shell: `PWD` if that is the current directory.
 * @throws PacelineError `cwd` if that directory has been deleted
 */
export function writtenCwd(environment: NodeJS.ProcessEnv = process.env): string {
  let cwd: string;
  try {
    cwd = process.cwd();
    statSync(cwd);
  } catch (cause) {
    throw new PacelineError("cwd", DELETED, { cause });
  }
  const { PWD } = environment;
  if (PWD === undefined || !PWD.startsWith("/") || normalize(PWD) !== PWD) return cwd;
  const written = statSync(PWD, { throwIfNoEntry: false, bigint: true });
  const actual = statSync(cwd, { bigint: true });
  return written?.ino === actual.ino && written.dev === actual.dev ? PWD : cwd;
}

const DELETED =
  "the working directory was deleted (an old release, perhaps); change into one that exists, or into the same path again";

/** @param cwd the result of `writtenCwd`, from which `source` was found */
export function identityOf(source: FleetSource, cwd: string): FleetIdentity {
  const path = placeOf(source);
  return { source: path, folder: source.kind === "config" ? dirname(path) : cwd };
}

/** Returns the fleet name that a folder implies: its own name, or that of its parent for `…/shop/current`. */
export function nameOfFolder(folder: string): string {
  const name = basename(folder);
  return (name === "current" ? basename(dirname(folder)) : name) || "fleet";
}

/** Returns the name of a fleet's run directory, for example `shop-3f9a1c2b7d60`. */
export function runDirName({ source }: Pick<FleetIdentity, "source">, salt = ""): string {
  const name = nameOfFolder(dirname(source))
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[.-]+/, "")
    .slice(0, MAX_NAME_LENGTH);
  const hash = createHash("sha256").update(source).update(salt).digest("hex").slice(0, 12);
  return `${name || "fleet"}-${hash}`;
}
