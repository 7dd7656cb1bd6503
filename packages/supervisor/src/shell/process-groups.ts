/** Which processes are counted as one: the shim of a command with all that the command started, and each of ours alone. */
import { type ProcessRow, processesOf, readProcessTable } from "@paceline/link/processes";
import type { LiveProcess } from "./live-process.js";

/** By the pid that stands for them, which is the first in its list. */
export function processGroups(children: Iterable<LiveProcess>): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  // Read once for all shims, and not at all where there is none.
  let rows: ProcessRow[] | undefined;
  for (const { pid, mark } of children) {
    if (pid === null) continue;
    if (mark !== null) rows ??= readProcessTable();
    groups.set(pid, mark === null || rows === undefined ? [pid] : [pid, ...processesOf(pid, rows)]);
  }
  return groups;
}
