/** Which processes are counted as one: all that a command started, its shim apart, and each of ours alone. */
import { type ProcessRow, processesOf, readProcessTable } from "@paceline/wire/proc";
import type { LiveProcess } from "./live-process.js";

/** By what they are known as: the pid of the process that we spawned; a shim by `shimKey` of its own. */
export function processGroups(children: Iterable<Pick<LiveProcess, "pid" | "mark">>): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  // Read once for all shims, and not at all where there is none.
  let rows: ProcessRow[] | undefined;
  for (const { pid, mark } of children) {
    if (pid === null) continue;
    if (mark !== null) rows ??= readProcessTable();
    if (mark === null || rows === undefined) groups.set(pid, [pid]);
    else groups.set(pid, processesOf(pid, rows)).set(shimKey(pid), [pid]);
  }
  return groups;
}

/** What stands for a shim alone, where its pid stands for the command. */
export function shimKey(pid: number): number {
  return -pid;
}
