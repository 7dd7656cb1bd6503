/** Runs programs in the kernel's idle class (SCHED_IDLE): they only use CPU time that nothing else needs. */
import { execFileSync, spawnSync } from "node:child_process";
import { constants, setPriority } from "node:os";

const HAS_CHRT = spawnSync("chrt", ["--version"]).status === 0;

/** Returns the command that runs this one in the idle class, or with the lowest priority if there is no `chrt`. */
export function inIdleClass(command) {
  return HAS_CHRT ? ["chrt", "-i", "0", ...command] : ["nice", "-n", "19", ...command];
}

/** Moves the threads of this process to the idle class. */
export function becomeIdleClass() {
  if (HAS_CHRT) execFileSync("chrt", ["-a", "-i", "-p", "0", String(process.pid)]);
  else setPriority(constants.priority.PRIORITY_LOW);
}

/** Moves the threads of this process back to the normal class. */
export function leaveIdleClass() {
  if (HAS_CHRT) execFileSync("chrt", ["-a", "-o", "-p", "0", String(process.pid)]);
}
