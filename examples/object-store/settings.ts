/** The values of the configuration, and S3's limits. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const LIMITS = {
  keyBytes: 1024,
  userMetadataBytes: 2048,
  objectBytes: 5 * 2 ** 40,
  putBytes: 5 * 2 ** 30,
  partBytes: 5 * 2 ** 20,
  parts: 10_000,
  /** A list of 10,000 parts with their checksums, or of 1,000 keys to delete. */
  xmlBytes: 4 << 20,
  /** In one response, or in one DeleteObjects request. */
  listed: 1000,
};

export type Settings = ReturnType<typeof readSettings>;

export function readSettings(env: NodeJS.ProcessEnv) {
  const folder = env.STORE_FOLDER;
  if (!folder) throw new Error("STORE_FOLDER is not set: the folder of the objects");
  const list = (text = "") => text.split(",").filter((each) => each !== "");
  const keys = env.STORE_KEYS ?? join(folder, "keys.json");
  return {
    /** The folder of objects, temporary files and SQLite's database. */
    folder,
    /** The URL of a PostgreSQL database in place of SQLite. */
    databaseUrl: env.DATABASE_URL || undefined,
    /** By access key. */
    secrets: secretsOf(readFileSync(keys, "utf8"), keys),
    /** Buckets are subdomains of these hosts, for example `photos.localhost`. */
    domains: list(env.STORE_DOMAINS ?? "localhost"),
    /** Buckets whose objects everybody may read. */
    publicBuckets: new Set(list(env.STORE_PUBLIC)),
    /** The route of an internal static pool that sends the files of public objects; undefined if there is none. */
    filesRoute: env.STORE_FILES_ROUTE || undefined,
    /** How long the files of an overwritten or deleted object are kept for clients that still read it, in milliseconds. */
    droppedAgeMs: Number(env.STORE_DROPPED_AGE_MS ?? 600_000),
    /** How old a file without an object, as a crash may leave it, must be before it is removed, in milliseconds. */
    orphanAgeMs: Number(env.STORE_ORPHAN_AGE_MS ?? 3_600_000),
    sweepEveryMs: Number(env.STORE_SWEEP_EVERY_MS ?? 300_000),
  };
}

/** @throws Error if a reload with these keys would lock everybody out */
export function secretsOf(text: string, path: string): Map<string, string> {
  let keys: unknown;
  try {
    keys = JSON.parse(text);
  } catch {
    // Rejected below.
  }
  const entries = typeof keys === "object" && keys !== null && !Array.isArray(keys) ? Object.entries(keys) : [];
  const isGood = entries.every(([key, secret]) => key !== "" && typeof secret === "string" && secret !== "");
  if (entries.length > 0 && isGood) return new Map(entries);
  throw new Error(`${path} must have the form {"ACCESS_KEY":"SECRET"}, with at least one key, and text in quotes`);
}
