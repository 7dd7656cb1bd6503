/** Whether a tsconfig.json gives an app's imports other paths, which Node's own TypeScript does not know. */
import { nearestTsconfig } from "./tsconfig.js";

/** Judged by the nearest tsconfig.json above the file; one that extends another may have them from there. */
export function hasPathAliases(file: string): boolean {
  return /"(paths|extends)"\s*:/.test(nearestTsconfig(file)?.text ?? "");
}
