/** The processes of this machine as /proc has them, and those that a command left behind; where there is no /proc, none. */
import { openSync, readdirSync, readFileSync, readlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { MARK_FD, SPAWN_MARK } from "../control/child-environment.js";

export interface ProcessRow {
  pid: number;
  parent: number;
  session: number;
}

/** What proc_pid_stat(5) says of a process. */
export interface ProcessStat {
  /** `Z` and `X`: it has ended, and was not waited for. */
  state: string;
  parent: number;
  session: number;
  /** In the kernel's clock ticks; with the pid it names one process for good. */
  startTime: string;
}

/** Undefined where it is gone, or where there is no /proc. */
export function readStat(pid: number): ProcessStat | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  if (stat === undefined) return undefined;
  // The command in parentheses may hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ", 20);
  const [state = "", parent, , session] = fields;
  return { state, parent: Number(parent), session: Number(session), startTime: fields[19] ?? "" };
}

/** Whether it runs, and is not only the unwaited remains of a process. */
export function hasNotEnded({ state }: ProcessStat): boolean {
  return state !== "Z" && state !== "X";
}

/** Every process that still runs; one that has ended and was not waited for is left out. */
export function readProcessTable(): ProcessRow[] {
  const rows: ProcessRow[] = [];
  for (const name of attempt(() => readdirSync("/proc")) ?? []) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = readStat(pid);
    if (stat !== undefined && hasNotEnded(stat)) rows.push({ pid, parent: stat.parent, session: stat.session });
  }
  return rows;
}

/** Those of `rows` that are in the session which `leader` began, or were started by it or by one of these; without itself. */
export function processesOf(leader: number, rows: readonly ProcessRow[]): number[] {
  const found = new Set<number>();
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const { pid, parent, session } of rows) {
      if (pid !== leader && (session === leader || parent === leader || found.has(parent))) found.add(pid);
    }
  }
  return [...found];
}

/** Its name and arguments in one line, for people. */
export function commandLineOf(pid: number): string {
  const text = (attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "").replaceAll("\0", " ").trim();
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** A process may end, or belong to someone else, while we look at it; either way it has nothing to tell. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

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
