/** Finds and ends what a command started, wherever it went: into another group or session, or to another parent. */
import { openSync, readFileSync, readlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { MARK_FD, SPAWN_MARK } from "../control/messages.js";
import { attempt, processesOf, readProcessTable } from "./process-table.js";

/** What is known of a spawn, by which its processes are found. */
export interface Spawn {
  /** The pid of the shim, which leads a session. */
  leader: number;
  /** The value of SPAWN_MARK; also the name of a deleted file that the command has open as MARK_FD. */
  mark: string;
}

/** Makes the file for MARK_FD and deletes it; the descriptor is the caller's to close. @throws as node:fs does */
export function openMark(folder: string, mark: string): number {
  const path = join(folder, mark);
  const fd = openSync(path, "wx", 0o600);
  unlinkSync(path);
  return fd;
}

const LOOK_EVERY_MS = 20;
/** What forks while it is looked for can be missed once. */
const CLEAN_LOOKS = 2;
/** Kernel work that cannot be interrupted may hold up a SIGKILL; after so many looks we leave. */
const MAX_LOOKS = 100;

/** The processes of a spawn that still run, without this one and the shim. */
export function findLeftoverProcesses({ leader, mark }: Spawn): number[] {
  const rows = readProcessTable();
  const found = new Set(processesOf(leader, rows));
  for (const { pid } of rows) if (!found.has(pid) && isMarked(pid, mark)) found.add(pid);
  found.delete(leader);
  found.delete(process.pid);
  return [...found];
}

/** The value of SPAWN_MARK that a process has in its environment; undefined where it has none, or may not be looked at. */
export function spawnTagOf(pid: number): string | undefined {
  const environment = attempt(() => readFileSync(`/proc/${pid}/environ`, "latin1")) ?? "";
  const at = `\0${environment}`.indexOf(`\0${SPAWN_MARK}=`);
  if (at < 0) return undefined;
  const start = at + SPAWN_MARK.length + 1;
  const end = environment.indexOf("\0", start);
  return environment.slice(start, end < 0 ? undefined : end);
}

function isMarked(pid: number, mark: string): boolean {
  const environment = attempt(() => readFileSync(`/proc/${pid}/environ`, "latin1")) ?? "";
  if (environment.includes(`${SPAWN_MARK}=${mark}`)) return true;
  return attempt(() => readlinkSync(`/proc/${pid}/fd/${MARK_FD}`))?.endsWith(`/${mark} (deleted)`) ?? false;
}

/**
 * Ends all processes of a spawn at once. The first look, with its signals, is over when this returns; resolves with how
 * many there were when nothing is left, or when what is left does not end.
 */
export function endLeftoverProcesses(spawn: Spawn): Promise<number> {
  return endAll(() => findLeftoverProcesses(spawn));
}

/** Ends what `find` finds, until it finds nothing more, in bounded time; resolves with how many there were. */
export async function endAll(find: () => number[]): Promise<number> {
  const ended = new Set<number>();
  for (let looks = 0, clean = 0; looks < MAX_LOOKS && clean < CLEAN_LOOKS; looks++) {
    if (looks > 0) await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    const found = find();
    clean = found.length === 0 ? clean + 1 : 0;
    for (const pid of found) {
      ended.add(pid);
      attempt(() => process.kill(pid, "SIGKILL"));
    }
  }
  return ended.size;
}
