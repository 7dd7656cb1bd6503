/** A supervisor that holds its run directory but does not respond. */
import { readStat } from "@paceline/wire/proc";

/** Returns what is known of a supervisor that does not respond, and what to do. */
export function silentText(pid: number | undefined): string {
  if (pid === undefined) return "the supervisor does not respond";
  const remedy = `kill -9 ${pid} ends it and the fleet keeps serving, then paceline start -d goes on with the fleet`;
  if (!isStopped(pid)) return `the supervisor (pid ${pid}) does not respond; ${remedy}`;
  return `the supervisor (pid ${pid}) does not respond, because a signal has stopped it; kill -CONT ${pid} lets it go on; ${remedy}`;
}

/** Whether a signal such as SIGSTOP, or a debugger, holds the process. */
export function isStopped(pid: number | undefined): boolean {
  return pid !== undefined && /^[Tt]$/.test(readStat(pid)?.state ?? "");
}
