/** Finds the runtimes for processes. */
import { accessSync, constants, existsSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import type { RuntimeName } from "../core/model.js";

/** The paths of the available runtimes. */
export interface Runtimes {
  bun?: string;
  node?: string;
  /** The default runtime. */
  preferred: RuntimeName;
}

/**
 * Finds Bun (PACELINE_BUN or the package beside ours), node (PATH), and the runtime of this process. Prefers Bun, unless
 * PACELINE_RUNTIME is `node`.
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
    return undefined; // The package is optional and not available on every platform.
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
    return false; // Missing or not executable.
  }
}
