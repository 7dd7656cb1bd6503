/** The exit statuses, the same for all commands. */
import type { OperationResult } from "../control/api.js";

export const EXIT = {
  done: 0,
  /** The operation failed. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** Nothing is running, or its supervisor was killed. */
  notRunning: 3,
  /** The deadline passed. */
  deadline: 4,
  /** Another operation is running; try again later. */
  busy: 5,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

export function exitStatusOf(result: OperationResult): ExitStatus {
  return result.ok ? EXIT.done : exitStatusOfCode(result.code);
}

/** Returns the exit status for the code of an operation's result or of a PacelineError. */
export function exitStatusOfCode(code: string): ExitStatus {
  switch (code) {
    case "invalid":
    case "config":
    case "usage":
    case "cwd":
      return EXIT.usage;
    case "not-running":
    case "orphaned":
      return EXIT.notRunning;
    case "timeout":
      return EXIT.deadline;
    case "busy":
      return EXIT.busy;
    default:
      return EXIT.failed;
  }
}
