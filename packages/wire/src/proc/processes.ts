/** The processes of this machine from /proc, and those that a command left behind; empty without /proc. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { SPAWN_TAG, TAG_FD } from "../control/child-environment.js";

export interface ProcessRow {
  pid: number;
  parent: number;
  session: number;
  /** In the kernel's clock ticks since the boot. */
  startTime: number;
}

/** The part of proc_pid_stat(5) that is used. */
interface ProcessStat {
  /** `Z` and `X`: a zombie or dead process. */
  state: string;
  parent: number;
  session: number;
  /** In the kernel's clock ticks. It identifies a process together with its pid. */
  startTime: string;
  /** Its CPU time so far. */
  cpuMs: number;
  rssBytes: number;
}

/** USER_HZ is 100 on every known Linux. */
const TICK_MS = 10;

/** Returns undefined if the process has exited, or without /proc. */
export function readStat(pid: number): ProcessStat | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  if (stat === undefined) return undefined;
  // The command in parentheses may contain spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ", 22);
  const [state = "", parent, , session] = fields;
  const ticks = Number(fields[11]) + Number(fields[12]);
  return {
    state,
    parent: Number(parent),
    session: Number(session),
    startTime: fields[19] ?? "",
    cpuMs: ticks * TICK_MS,
    rssBytes: Number(fields[21]) * pageBytes(),
  };
}

const AT_PAGESZ = 6;
const USUAL_PAGE_BYTES = 4096;
let ownPageBytes: number | undefined;

/** Returns the size of a page, which the kernel passes to each process (getauxval(3)). `getconf` would cost a process. */
function pageBytes(): number {
  ownPageBytes ??= attempt(() => pageBytesIn(readFileSync("/proc/self/auxv"))) ?? USUAL_PAGE_BYTES;
  return ownPageBytes;
}

/** Finds the page size in pairs of machine words: a key and its value. */
export function pageBytesIn(auxv: Uint8Array, is32Bit = process.arch === "arm" || process.arch === "ia32"): number {
  const { buffer } = new Uint8Array(auxv);
  const words = is32Bit ? new Uint32Array(buffer) : new BigUint64Array(buffer);
  for (let at = 0; at + 1 < words.length; at += 2) if (Number(words[at]) === AT_PAGESZ) return Number(words[at + 1]);
  return USUAL_PAGE_BYTES;
}

/** Whether it runs and is not a zombie. */
export function hasNotEnded({ state }: ProcessStat): boolean {
  return state !== "Z" && state !== "X";
}

/** Returns every running process, without zombies. */
export function readProcessTable(): ProcessRow[] {
  const rows: ProcessRow[] = [];
  for (const name of attempt(() => readdirSync("/proc")) ?? []) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const row = readRow(pid);
    if (row !== undefined) rows.push(row);
  }
  return rows;
}

/** The numbers of fields in proc_pid_stat(5). */
const SESSION_FIELD = 6;
const START_FIELD = 22;

/** Like `readStat`, without leaving garbage. Undefined for a zombie, too. */
function readRow(pid: number): ProcessRow | undefined {
  const stat = readScratch(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const state = stat.lastIndexOf(CLOSING_PARENTHESIS) + 2;
  if (stat[state] === ZOMBIE || stat[state] === DEAD) return undefined;
  const parent = stat.indexOf(SPACE, state) + 1;
  const group = stat.indexOf(SPACE, parent) + 1;
  const session = stat.indexOf(SPACE, group) + 1;
  let start = session;
  for (let field = SESSION_FIELD; field < START_FIELD; field++) start = stat.indexOf(SPACE, start) + 1;
  return {
    pid,
    parent: numberAt(stat, parent),
    session: numberAt(stat, session),
    startTime: numberAt(stat, start),
  };
}

const [CLOSING_PARENTHESIS = 0, SPACE = 0, ZOMBIE = 0, DEAD = 0] = [...") ZX"].map((character) =>
  character.charCodeAt(0),
);
const [ZERO, NINE] = ["0".charCodeAt(0), "9".charCodeAt(0)];

function numberAt(bytes: Uint8Array, start: number): number {
  let number = 0;
  for (let at = start; ; at++) {
    const digit = bytes[at] ?? 0;
    if (digit < ZERO || digit > NINE) return number;
    number = 10 * number + digit - ZERO;
  }
}

/** The maximum number of bytes of a file that are read: an environment with its arguments may have 6 MB. */
const MAX_SCRATCH_BYTES = 8 << 20;
let scratch: Buffer | undefined;

/** Reads a file of /proc into a buffer that the next call overwrites, because a search reads hundreds of files. */
function readScratch(path: string): Buffer | undefined {
  const fd = attempt(() => openSync(path, "r"));
  if (fd === undefined) return undefined;
  try {
    scratch ??= Buffer.allocUnsafeSlow(16 << 10);
    for (let length = 0; ; ) {
      const read = readSync(fd, scratch, length, scratch.length - length, null);
      length += read;
      if (read === 0 || length >= MAX_SCRATCH_BYTES) return scratch.subarray(0, length);
      if (length === scratch.length) scratch = Buffer.concat([scratch], 2 * length);
    }
  } catch {
    return undefined; // The process has exited, or belongs to another user.
  } finally {
    closeSync(fd);
  }
}

/** Returns the processes in the session of `leader` and all of its descendants, without itself. */
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

/** Returns the process's name and arguments in one line, for display. */
export function commandLineOf(pid: number): string {
  const text = (attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "").replaceAll("\0", " ").trim();
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Returns undefined if reading fails: the process may have exited, or belong to another user. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Identifies a spawn, to find its processes. */
export interface Spawn {
  /** The pid of the shim, which leads a session. */
  leader: number;
  /** The value of SPAWN_TAG; also the name of the deleted file behind the command's TAG_FD. */
  tag: string;
}

/**
 * Creates and deletes the file for TAG_FD. The caller closes the descriptor.
 * @throws like node:fs
 */
export function openTagFile(folder: string, tag: string): number {
  const path = join(folder, tag);
  const fd = openSync(path, "wx", 0o600);
  unlinkSync(path);
  return fd;
}

const LOOK_EVERY_MS = 20;
/** A process that forks during a search can be missed in one search. */
const CLEAN_LOOKS = 2;
/** Uninterruptible kernel work may delay a SIGKILL. The search stops after this many attempts. */
const MAX_LOOKS = 100;

/** Returns the running processes of a spawn, without this process and the shim. */
export function findLeftoverProcesses({ leader, tag }: Spawn): number[] {
  const rows = readProcessTable();
  const found = new Set(processesOf(leader, rows));
  // Processes that the shim started are younger than the shim. They are selected first, because reading an environment costs more than all
  // the rest.
  const since = rows.find(({ pid }) => pid === leader)?.startTime ?? 0;
  for (const { pid, startTime } of rows)
    if (startTime >= since && !found.has(pid) && isTagged(pid, tag)) found.add(pid);
  found.delete(leader);
  found.delete(process.pid);
  return [...found];
}

/** Returns the value of SPAWN_TAG in a process's environment; undefined if it has none, or is not accessible. */
export function spawnTagOf(pid: number): string | undefined {
  const environment = readScratch(`/proc/${pid}/environ`);
  if (environment === undefined) return undefined;
  for (let at = environment.indexOf(TAG); at >= 0; at = environment.indexOf(TAG, at + 1)) {
    if (at > 0 && environment[at - 1] !== 0) continue;
    const start = at + TAG.length;
    const end = environment.indexOf(0, start);
    return environment.toString("latin1", start, end < 0 ? environment.length : end);
  }
  return undefined;
}

const TAG = `${SPAWN_TAG}=`;

function isTagged(pid: number, tag: string): boolean {
  if (readScratch(`/proc/${pid}/environ`)?.includes(`${TAG}${tag}`)) return true;
  return attempt(() => readlinkSync(`/proc/${pid}/fd/${TAG_FD}`))?.endsWith(`/${tag} (deleted)`) ?? false;
}

/**
 * Kills all processes of a spawn. The first search and its signals are synchronous. Resolves with the number of processes when all have
 * exited, or when some do not exit.
 */
export function endLeftoverProcesses(spawn: Spawn): Promise<number> {
  return endAll(() => findLeftoverProcesses(spawn));
}

/** Kills the processes that `find` returns until it finds none, within bounded time. Resolves with the number of processes. */
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
