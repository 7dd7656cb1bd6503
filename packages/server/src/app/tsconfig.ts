/** Reads the tsconfig.json that holds for a file. */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** So many files may extend each other. */
const MAX_EXTENDED = 10;
/** Texts, and what JSON does not have: comments, and commas before a closing bracket. */
const NOT_OF_JSON = /"(?:\\.|[^"\\])*"|\/\/[^\n]*|\/\*[\s\S]*?\*\/|,(?=\s*[}\]])/g;

export interface ConfigText {
  path: string;
  text: string;
}

/** The nearest one above it. */
export function nearestTsconfig(file: string): ConfigText | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const path = join(folder, "tsconfig.json");
    const text = read(path);
    if (text !== undefined) return { path, text };
    if (folder === dirname(folder)) return undefined;
  }
}

/** `compilerOptions` of the nearest tsconfig.json, with those of the files that it extends by a relative path. */
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
    return {}; // What is wrong with it is the compiler's to say.
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // None there, or not for us to read.
  }
}

/** Judged by the nearest tsconfig.json above the file; one that extends another may have them from there. */
export function hasPathAliases(file: string): boolean {
  return /"(paths|extends)"\s*:/.test(nearestTsconfig(file)?.text ?? "");
}
