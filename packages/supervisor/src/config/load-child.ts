/**
 * The short-lived process that runs a user's config module and writes what it exports as JSON to fd 3, so that its own
 * output cannot be mistaken for it. A process of its own, since a module cannot be imported afresh and user code may hang.
 */
import { writeSync } from "node:fs";
import { pathToFileURL } from "node:url";
import type { LoadAnswer } from "./load-module.js";

const RESULT_FD = 3;

async function main(file: string): Promise<void> {
  let answer: LoadAnswer;
  try {
    let config = await importDefault(file);
    if (typeof config === "function") config = await config();
    const stray = findStray(await config, []);
    if (config === undefined) answer = { error: "has no default export" };
    else if (stray === undefined) answer = { config: await config };
    else answer = { error: `must be ${stray.rule}`, path: stray.path };
  } catch (error) {
    answer = { error: `threw ${describe(error)}` };
  }
  writeAll(Buffer.from(JSON.stringify(answer)));
  // User code may have left timers or sockets behind.
  process.exit(0);
}

async function importDefault(file: string): Promise<unknown> {
  const needsJiti = process.versions.bun === undefined && /\.[cm]?ts$/.test(file);
  if (!needsJiti) return ((await import(pathToFileURL(file).href)) as { default?: unknown }).default;
  const { createJiti } = await import("jiti");
  const jiti = createJiti(import.meta.url, { fsCache: false, moduleCache: false });
  return ((await jiti.import(file)) as { default?: unknown }).default;
}

/** The first value that JSON would lose without a word. */
function findStray(value: unknown, path: (string | number)[]): { path: (string | number)[]; rule: string } | undefined {
  if (path.length > 100) return { path: [], rule: "a table that does not contain itself" };
  const type = typeof value;
  if (type === "function" || type === "symbol" || type === "bigint") {
    return { path, rule: `something JSON can hold, not a ${type}` };
  }
  if (type === "number" && !Number.isFinite(value)) return { path, rule: `a finite number, not ${value}` };
  if (type !== "object" || value === null) return undefined;
  for (const [key, child] of Object.entries(value as object)) {
    const found = findStray(child, [...path, Array.isArray(value) ? Number(key) : key]);
    if (found !== undefined) return found;
  }
  return undefined;
}

function describe(error: unknown): string {
  if (error instanceof Error) return error.stack?.includes(error.message) ? error.stack : String(error);
  return JSON.stringify(error) ?? String(error);
}

function writeAll(bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(RESULT_FD, bytes, written);
}

const file = process.argv[2];
if (file === undefined) throw new Error("load-child needs the path of a config module");
await main(file);
