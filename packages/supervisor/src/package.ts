/** The location of this package's built files, whether or not the caller is bundled, and the package's version. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const BUILT = "/dist/";
const at = import.meta.url.lastIndexOf(BUILT);

/** The URL of `dist/`. It contains the programs of all processes, both in a checkout and in the published package. */
const DIST_FOLDER = at < 0 ? new URL("../dist/", import.meta.url).href : import.meta.url.slice(0, at + BUILT.length);

/** Returns the absolute path of a file in `dist/`, for example `programs/server/bin.js`. */
export function builtFile(path: string): string {
  return fileURLToPath(new URL(path, DIST_FOLDER));
}

let known: string | undefined;

/** Returns the version of the running code. Read once, because an upgrade in place changes the file. */
export function version(): string {
  known ??= (JSON.parse(readFileSync(new URL("../package.json", DIST_FOLDER), "utf8")) as { version: string }).version;
  return known;
}
