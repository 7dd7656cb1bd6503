/** Where this package's built files lie, whoever asks being part of a bundle or not; and its version. */
import { readFileSync } from "node:fs";

const BUILT = "/dist/";
const at = import.meta.url.lastIndexOf(BUILT);

/** The address of `dist/`. */
export const DIST_FOLDER =
  at < 0 ? new URL("../dist/", import.meta.url).href : import.meta.url.slice(0, at + BUILT.length);

export function version(): string {
  const manifest = readFileSync(new URL("../package.json", DIST_FOLDER), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
