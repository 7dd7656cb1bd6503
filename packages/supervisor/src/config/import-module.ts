/** Runs a config module in this process and takes the plain value it exports. */
import { pathToFileURL } from "node:url";
import { ConfigError } from "./problems.js";

/** The most a config may be as JSON, in bytes. */
const MAX_CONFIG_BYTES = 1 << 20;

/**
 * The default export of the module `file`, as it is after a way through JSON.
 * @throws ConfigError when the module throws, or exports what JSON cannot hold
 */
export async function importConfig(file: string): Promise<unknown> {
  const fail = (message: string, path: (string | number)[] = []) => new ConfigError([{ file, path, message }]);
  let json: string | undefined;
  try {
    let config = await importDefault(file);
    if (typeof config === "function") config = await config();
    const value = await config;
    const stray = findStray(value, []);
    if (stray !== undefined) throw fail(`must be ${stray.rule}`, stray.path);
    json = JSON.stringify(value);
  } catch (error) {
    throw error instanceof ConfigError ? error : fail(`threw ${describe(error)}`);
  }
  if (json === undefined) throw fail("has no default export");
  if (Buffer.byteLength(json) > MAX_CONFIG_BYTES) throw fail(`exports more than ${MAX_CONFIG_BYTES} bytes`);
  return JSON.parse(json);
}

async function importDefault(file: string): Promise<unknown> {
  const needsJiti = process.versions.bun === undefined && /\.[cm]?ts$/.test(file);
  if (!needsJiti) return ((await import(pathToFileURL(file).href)) as { default?: unknown }).default;
  const { createJiti } = await import("jiti");
  const jiti = createJiti(file, { fsCache: false, moduleCache: false, tsconfigPaths: true });
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
