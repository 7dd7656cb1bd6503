/** Writes a new config file, which replaces an existing one only if requested, and checks the written file. */
import { basename, dirname, join } from "node:path";
import { CONFIG_FILE_NAMES, entryKindOf, findConfigFile } from "../config/find.js";
import { loadFleet } from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import { PacelineError } from "../errors.js";
import { IMPORTED_FILE_NAMES } from "../import/sources.js";
import { type ConfigText, formatOf, writeConfig } from "../import/write-config.js";
import { reasonOf, writeWhole } from "../run-dir/run-dir-files.js";
import { findRuntimes } from "../runtime/runtimes.js";

interface SaveOptions {
  /** Whether to overwrite an existing file. */
  force: boolean;
  /** Whether the path is the folder's default config, over which no other may take precedence. */
  isDefault: boolean;
  /** Whether the command can write to another file. */
  hasOutput: boolean;
}

/** Returns the problems that `paceline check` would report. @throws PacelineError `usage`, `exists` or `denied` */
export async function saveConfig(
  path: string,
  text: ConfigText,
  { force, isDefault, hasOutput }: SaveOptions,
): Promise<{ problems: string[] }> {
  const format = formatOf(path);
  if (format === undefined)
    throw new PacelineError("usage", `${path}: a config is a .mjs, .js, .ts, .toml or .json file`);
  const isKnownName = CONFIG_FILE_NAMES.includes(basename(path)) || /\.(json|toml)$/.test(path);
  if (!isKnownName && !basename(path).includes("paceline.config."))
    throw new PacelineError(
      "usage",
      `${path}: the name of a module must contain "paceline.config.", such as a.paceline.config.mjs`,
    );
  const existing = isDefault ? findConfigFile(dirname(path)) : entryKindOf(path) === "nothing" ? undefined : path;
  if (existing !== undefined && (!force || existing !== path)) {
    const remedy = existing === path ? "--force overwrites it" : "it would be used first: remove it";
    throw new PacelineError(
      "exists",
      `${existing} exists; ${remedy}${hasOutput ? ", or write to another file with --output" : ""}`,
    );
  }
  try {
    writeWhole(path, writeConfig(text, format), { replaces: force });
  } catch (cause) {
    throw new PacelineError("denied", `cannot write ${path}: ${reasonOf(cause)}`, { cause });
  }
  return { problems: await problemsOf(path) };
}

async function problemsOf(path: string): Promise<string[]> {
  try {
    await loadFleet({
      ...{ target: path, cwd: process.cwd(), overrides: {}, runtimes: findRuntimes() },
      ...{ environment: process.env as Record<string, string>, endsSoon: true },
    });
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
}

/** Returns the name of the first file in `folder` that `paceline import` reads. */
export function importableIn(folder: string): string | undefined {
  return IMPORTED_FILE_NAMES.find((name) => entryKindOf(join(folder, name)) === "file");
}

/** @throws PacelineError `usage` if there is no such file in `folder` */
export function findImportable(folder: string): string {
  const name = importableIn(folder);
  if (name !== undefined) return join(folder, name);
  throw new PacelineError("usage", `${folder} has none of ${IMPORTED_FILE_NAMES.join(", ")}: name the file`);
}
