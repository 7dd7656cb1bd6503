/** Whether a tsconfig.json gives an app's imports other paths, which Node's own TypeScript does not know. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Judged by the nearest tsconfig.json above the file; one that extends another may have them from there. */
export function hasPathAliases(file: string): boolean {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const text = read(join(folder, "tsconfig.json"));
    if (text !== undefined) return /"(paths|extends)"\s*:/.test(text);
    if (folder === dirname(folder)) return false;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // None there, or not for us to read.
  }
}
