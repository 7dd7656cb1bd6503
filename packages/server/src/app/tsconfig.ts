/** Reads the tsconfig.json of a file. */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** The maximum length of an `extends` chain. */
const MAX_EXTENDED = 10;
/** Strings, and everything that JSON does not allow: comments, and commas before a closing bracket. */
const NOT_OF_JSON = /"(?:\\.|[^"\\])*"|\/\/[^\n]*|\/\*[\s\S]*?\*\/|,(?=\s*[}\]])/g;

export interface ConfigText {
  path: string;
  text: string;
}

/** Returns the nearest tsconfig.json above the file. */
function nearestTsconfig(file: string): ConfigText | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const path = join(folder, "tsconfig.json");
    const text = read(path);
    if (text !== undefined) return { path, text };
    if (folder === dirname(folder)) return undefined;
  }
}

/** Returns `compilerOptions` of the nearest tsconfig.json, including files it extends by a relative path. */
export function compilerOptionsFor(file: string): Record<string, unknown> {
  let options: Record<string, unknown> = {};
  let config = nearestTsconfig(file);
  for (let count = 0; config !== undefined && count < MAX_EXTENDED; count++) {
    const { compilerOptions, extends: base } = parse(config.text);
    if (typeof compilerOptions === "object") options = { ...compilerOptions, ...options };
    if (typeof base !== "string" || !base.startsWith(".")) break;
    const path = resolve(dirname(config.path), base);
    const text = read(path) ?? read(`${path}.json`);
    config = text === undefined ? undefined : { path, text };
  }
  return options;
}

function parse(text: string): { compilerOptions?: object | null; extends?: unknown } {
  try {
    const json = text.replace(NOT_OF_JSON, (part) => (part.startsWith('"') ? part : ""));
    return (JSON.parse(json) as object | null) ?? {};
  } catch {
    return {}; // The compiler reports errors in it.
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // Missing or not readable.
  }
}

/** Whether the nearest tsconfig.json above the file has path aliases. One that extends another file may inherit some. */
export function hasPathAliases(file: string): boolean {
  return /"(paths|extends)"\s*:/.test(nearestTsconfig(file)?.text ?? "");
}
