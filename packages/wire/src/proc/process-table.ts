/** The processes of this machine as /proc tells them; where there is no /proc, none. */
import { readdirSync, readFileSync } from "node:fs";

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
