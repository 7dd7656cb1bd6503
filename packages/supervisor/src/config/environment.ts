/** Reads the environment that a pool's config sets for its instances: env files, then variables. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseEnv } from "node:util";

export interface EnvironmentSource {
  baseDir: string;
  /** Later files override earlier ones. */
  files: { file: string; path: (string | number)[] }[];
  variables: Record<string, string>;
  /** The key path of `variables`. */
  path: (string | number)[];
  report(path: (string | number)[], message: string): void;
}

export function readEnvironment(source: EnvironmentSource): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const { file, path } of source.files) {
    try {
      Object.assign(environment, parseEnv(readFileSync(resolve(source.baseDir, file), "utf8")));
    } catch (error) {
      source.report(path, `cannot be read: ${(error as Error).message}`);
    }
  }
  Object.assign(environment, source.variables);
  for (const [name, value] of Object.entries(environment)) {
    const problem = whatIsWrong(name, value);
    if (problem !== undefined) source.report([...source.path, name], problem);
  }
  return environment;
}

function whatIsWrong(name: string, value: string): string | undefined {
  if (name.startsWith("PACELINE_")) return "names that begin with PACELINE_ are reserved for Paceline";
  if (name === "" || /[=\0]/.test(name)) return "is not a valid name of an environment variable";
  if (value.includes("\0")) return "must not contain a NUL";
  return undefined;
}
