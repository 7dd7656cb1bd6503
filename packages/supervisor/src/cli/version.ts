/** Paceline's version, from its package. */
import { readFileSync } from "node:fs";
import { DIST_FOLDER } from "../dist-folder.js";

export function version(): string {
  const manifest = readFileSync(new URL("../package.json", DIST_FOLDER), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
