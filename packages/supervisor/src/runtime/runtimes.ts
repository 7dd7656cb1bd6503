/** Finds the programs that processes can run on. */
import { accessSync, constants, existsSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import type { RuntimeName } from "../core/model.js";

/** The programs that processes run on, where they are found. */
export interface Runtimes {
  bun?: string;
  node?: string;
  /** What runs where nothing is said. */
  preferred: RuntimeName;
}

/**
 * Bun from PACELINE_BUN or the package beside ours, node from PATH, and whichever of them we run on ourselves. Bun is
 * preferred where it is found, unless PACELINE_RUNTIME is `node`.
 */
export function findRuntimes(environment: NodeJS.ProcessEnv = process.env): Runtimes {
  const onBun = process.versions.bun !== undefined;
  const bun = environment.PACELINE_BUN ?? (onBun ? process.execPath : packagedBun());
  const node = onBun ? inPath("node", environment.PATH ?? "") : process.execPath;
  const preferred = bun === undefined || environment.PACELINE_RUNTIME === "node" ? "node" : "bun";
  return { ...(bun === undefined ? {} : { bun }), ...(node === undefined ? {} : { node }), preferred };
}

function packagedBun(): string | undefined {
  const cpu = { x64: "x64", arm64: "aarch64" }[process.arch as string];
  const glibc = { x64: "/lib64/ld-linux-x86-64.so.2", arm64: "/lib/ld-linux-aarch64.so.1" }[process.arch as string];
  const musl = process.platform === "linux" && glibc !== undefined && !existsSync(glibc) ? "-musl" : "";
  try {
    const manifest = `@oven/bun-${process.platform}-${cpu}${musl}/package.json`;
    const program = join(dirname(createRequire(import.meta.url).resolve(manifest)), "bin", "bun");
    return isProgram(program) ? program : undefined;
  } catch {
    return undefined; // An optional package: it is not there for every platform.
  }
}

function inPath(name: string, path: string): string | undefined {
  const folders = path.split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // Not there, or not ours to run.
  }
}
