/** Compares the files of two releases by hash, or finds the files of one that changed after a time. Limited in files and bytes. */
import { createHash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { lstat, opendir, readlink } from "node:fs/promises";
import { join } from "node:path";

interface FileChange {
  /** Relative to the release; a folder ends with `/`. */
  path: string;
  /** `touched`: something in this folder was added, removed or renamed. */
  change: "added" | "removed" | "changed" | "touched";
  /** The beginning of the SHA-256 in hexadecimal digits; null if it is unknown, or there is no file. */
  from: string | null;
  to: string | null;
}

export interface FileChanges {
  files: FileChange[];
  /** What was not compared; null if everything was. */
  cutOff: string | null;
}

interface FileLimits {
  /** The maximum number of entries of each folder. */
  files: number;
  /** The maximum number of bytes that are hashed. */
  bytes: number;
  /** The maximum number of changes that are listed. */
  changes: number;
}

export const FILE_LIMITS: FileLimits = { files: 10_000, bytes: 256 << 20, changes: 500 };

const HASH_DIGITS = 12;
/** Folders that are skipped: dependencies, whose lock file is compared instead, and files of version control and interpreters. */
const SKIPPED = new Set(["node_modules", ".git", "__pycache__"]);
/** Files that programs write beside their code. */
const NO_CODE = /\.(log|pid|sock|db|sqlite3?)$|-(wal|shm|journal)$/;

interface Place {
  /** Folders that are not compared, for example the run directory. */
  without: readonly string[];
  limits?: FileLimits;
}

/** @throws the system's error if a folder cannot be read at all */
export async function compareReleases(from: string, to: string, place: Place): Promise<FileChanges> {
  const { limits = FILE_LIMITS } = place;
  const budget = new Budget(limits);
  const [before, after] = [await list(from, place, limits), await list(to, place, limits)];
  for (const { isCut } of [before, after]) if (isCut) budget.cut(`folders with more than ${limits.files} files`);
  const files: FileChange[] = [];
  for (const [path, old] of before.entries) {
    if (old.isDirectory()) continue;
    const now = after.entries.get(path);
    const isThere = now !== undefined && !now.isDirectory();
    // A list that reached its limit does not show whether a file is missing.
    if (!isThere && after.isCut) continue;
    const known = await hashOf(join(from, path), old, budget);
    if (!isThere) files.push({ path, change: "removed", from: known, to: null });
    else {
      const found = await hashOf(join(to, path), now, budget);
      const differs = known === null || found === null ? old.size !== now.size : known !== found;
      if (differs || (old.mode & 0o111) !== (now.mode & 0o111))
        files.push({ path, change: "changed", from: known, to: found });
    }
  }
  for (const [path, now] of after.entries) {
    const old = before.entries.get(path);
    if (now.isDirectory() || (old !== undefined && !old.isDirectory()) || before.isCut) continue;
    files.push({ path, change: "added", from: null, to: await hashOf(join(to, path), now, budget) });
  }
  return budget.result(files);
}

/** Returns what changed in a folder after `since`. For a file that is gone, it can only name the folder. */
export async function changedSince(folder: string, since: number, place: Place): Promise<FileChanges> {
  const { limits = FILE_LIMITS } = place;
  const budget = new Budget(limits);
  const { entries, isCut } = await list(folder, place, limits);
  if (isCut) budget.cut(`a folder with more than ${limits.files} files`);
  const files: FileChange[] = [];
  for (const [path, stat] of entries) {
    if (stat.isDirectory() || stat.ctimeMs <= since) continue;
    files.push({ path, change: "changed", from: null, to: await hashOf(join(folder, path), stat, budget) });
  }
  const changed = new Set(files.map(({ path }) => parentOf(path)));
  for (const [path, stat] of entries) {
    if (!stat.isDirectory() || stat.mtimeMs <= since || changed.has(path)) continue;
    files.push({ path: `${path}/`, change: "touched", from: null, to: null });
  }
  return budget.result(files);
}

function parentOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ".";
}

interface Listed {
  /** Indexed by the path within the folder, which itself is `.`. */
  entries: Map<string, Stats>;
  isCut: boolean;
}

async function list(folder: string, { without }: Place, { files }: FileLimits): Promise<Listed> {
  const entries = new Map<string, Stats>([[".", await lstat(folder)]]);
  const folders = ["."];
  for (let next = folders.shift(); next !== undefined; next = folders.shift()) {
    for await (const { name } of await opendir(join(folder, next))) {
      const path = next === "." ? name : `${next}/${name}`;
      if (SKIPPED.has(name) || NO_CODE.test(name) || without.includes(join(folder, path))) continue;
      if (entries.size >= files) return { entries, isCut: true };
      // The file may have been removed meanwhile.
      const stat = await lstat(join(folder, path)).catch(() => undefined);
      if (stat === undefined) continue;
      entries.set(path, stat);
      if (stat.isDirectory()) folders.push(path);
    }
  }
  return { entries, isCut: false };
}

class Budget {
  private left: number;
  private readonly reasons = new Set<string>();

  constructor(private readonly limits: FileLimits) {
    this.left = limits.bytes;
  }

  /** Whether a file of this size may be read. */
  takes(size: number): boolean {
    if (size > this.left) {
      this.cut(`the content of files beyond ${this.limits.bytes} bytes in all, of which only the sizes are compared`);
      return false;
    }
    this.left -= size;
    return true;
  }

  cut(reason: string): void {
    this.reasons.add(reason);
  }

  result(files: FileChange[]): FileChanges {
    files.sort((a, b) => (a.path < b.path ? -1 : 1));
    const { changes } = this.limits;
    if (files.length > changes) this.cut(`${files.length - changes} more changes`);
    const reasons = [...this.reasons];
    return { files: files.slice(0, changes), cutOff: reasons.length === 0 ? null : reasons.join("; ") };
  }
}

/** Returns null if it is not a file or link, cannot be read, or is beyond the limit. */
async function hashOf(path: string, stat: Stats, budget: Budget): Promise<string | null> {
  const hash = createHash("sha256");
  try {
    if (stat.isSymbolicLink()) hash.update(await readlink(path));
    else {
      if (!stat.isFile() || !budget.takes(stat.size)) return null;
      for await (const part of createReadStream(path, { end: Math.max(0, stat.size - 1) })) hash.update(part as Buffer);
    }
  } catch {
    return null; // Not readable, or gone meanwhile.
  }
  return hash.digest("hex").slice(0, HASH_DIGITS);
}
