/** The location of this package's built files, whether or not the caller is bundled, and the package's version. */
import { readFileSync } from "node:fs";

const BUILT = "/dist/";
const at = import.meta.url.lastIndexOf(BUILT);

/** The URL of `dist/`. */
export const DIST_FOLDER =
  at < 0 ? new URL("../dist/", import.meta.url).href : import.meta.url.slice(0, at + BUILT.length);

export function version(): string {
  const manifest = readFileSync(new URL("../package.json", DIST_FOLDER), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
