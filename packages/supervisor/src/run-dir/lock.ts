/**
 * The lock of a run directory: a chain of files `lock.1`, `lock.2`, …, of which the highest counts. It is held while the
 * process it names runs, so a crash leaves nothing locked. Taking it means to link the next number, which one starter
 * alone can do; the highest file is never removed, so no number comes twice.
 */
import { linkSync, readdirSync, readFileSync, truncateSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { PacelineError } from "../errors.js";
import { identify, isRunning, type ProcessIdentity } from "./process-identity.js";
import { writeDraft } from "./write-file.js";

export interface RunDirLock {
  /** Counts the holders of this lock since the directory was made; no two have the same. */
  number: number;
  release(): void;
}

/** Each round is lost to another starter that got further, so that a few suffice. */
const MAX_ROUNDS = 1000;
const NAME = /^lock\.(\d+)$/;

/**
 * Takes the lock of `folder` for this process.
 * @throws PacelineError `running` when a process that runs holds it, or too many race for it
 */
export function takeLock(folder: string): RunDirLock {
  const self = identify(process.pid);
  if (self === undefined) throw new PacelineError("running", "cannot tell when this process started");
  const draft = join(folder, `draft.${process.pid}`);
  writeDraft(draft, JSON.stringify(self));
  try {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const highest = Math.max(0, ...numbers(folder));
      const holder = highest === 0 ? undefined : readHolder(join(folder, `lock.${highest}`));
      if (holder !== undefined && isRunning(holder)) {
        throw new PacelineError(
          "running",
          `already running (pid ${holder.pid}) in ${folder}; use start --or-reload to reload it`,
        );
      }
      const mine = highest + 1;
      if (!tryLink(draft, join(folder, `lock.${mine}`))) continue;
      const others = numbers(folder).filter((number) => number !== mine);
      if (others.some((number) => number > mine)) {
        // A faster starter is past us, and had already removed the number we took.
        unlinkSync(join(folder, `lock.${mine}`));
        continue;
      }
      for (const number of others) unlinkIfThere(join(folder, `lock.${number}`));
      return { number: mine, release: () => release(folder, mine) };
    }
    throw new PacelineError("running", `too many others are starting in ${folder}`);
  } finally {
    unlinkIfThere(draft);
  }
}

/** The process that holds the lock of `folder` now. */
export function lockHolder(folder: string): ProcessIdentity | undefined {
  const highest = Math.max(0, ...numbers(folder));
  const holder = highest === 0 ? undefined : readHolder(join(folder, `lock.${highest}`));
  return holder !== undefined && isRunning(holder) ? holder : undefined;
}

/** The file stays, and names nobody. To empty it takes no room on a disk that is full. */
function release(folder: string, number: number): void {
  try {
    truncateSync(join(folder, `lock.${number}`));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function numbers(folder: string): number[] {
  return readdirSync(folder).flatMap((name) => {
    const match = NAME.exec(name);
    return match === null ? [] : [Number(match[1])];
  });
}

/** Undefined when it names nobody, or another starter removed it just now. */
function readHolder(file: string): ProcessIdentity | undefined {
  try {
    const holder = JSON.parse(readFileSync(file, "utf8")) as Partial<ProcessIdentity>;
    return typeof holder.pid === "number" ? (holder as ProcessIdentity) : undefined;
  } catch (error) {
    // A file that was emptied, or cut short with a lost machine, names nobody.
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function unlinkIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
