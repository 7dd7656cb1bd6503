/** The error class of the control plane, with a stable code for programs and a clear message; and the exit statuses of its codes. */

/** The exit statuses, the same for all commands. */
export const EXIT = {
  done: 0,
  /** The operation failed. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** Nothing is running, or the supervisor was killed. */
  notRunning: 3,
  /** The deadline passed, or the supervisor does not respond. */
  deadline: 4,
  /** Another operation is running; it can be tried again later. */
  busy: 5,
  /** A deploy failed before a canary had a request of a client. */
  refused: 6,
  /** A deploy was rolled back after its release had requests. */
  rolledBack: 7,
  /** A check of a rehearsal failed. */
  doesNotHold: 8,
  /** A deploy was rolled back because it could not decide in time whether the release is as good. */
  undecided: 9,
  /** The status that shells use for SIGINT. */
  interrupted: 130,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

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
    case "unresponsive":
      return EXIT.deadline;
    case "busy":
      return EXIT.busy;
    case "release-refused":
      return EXIT.refused;
    case "taken-back":
      return EXIT.rolledBack;
    case "undecided":
      return EXIT.undecided;
    case "interrupted":
      return EXIT.interrupted;
    default:
      return EXIT.failed;
  }
}

/** The optional details of a PacelineError, in addition to its code and message. */
interface ErrorDetails {
  cause?: unknown;
  /** The last lines of the process that failed. */
  lastLines?: readonly string[] | undefined;
  /** Default: the exit status of the code. */
  exitStatus?: number | undefined;
}

/**
 * Listen errors have the system's codes (`EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, …), or `ELISTEN` if the system names none. Other codes
 * are documented where they are thrown.
 */
export class PacelineError extends Error {
  override readonly name = "PacelineError";
  /** Stable, for programs. */
  readonly code: string;
  /** The exit status with which the command line reports this error. */
  readonly exitStatus: number;
  /** The last lines of the process that failed; empty if there is none. */
  readonly lastLines: readonly string[];

  constructor(code: string, message: string, { lastLines = [], exitStatus, ...options }: ErrorDetails = {}) {
    super(message, options);
    this.code = code;
    this.exitStatus = exitStatus ?? exitStatusOfCode(code);
    this.lastLines = lastLines;
  }
}

interface StartErrorDetails extends ErrorDetails {
  /** The unchanged output of the supervisor. */
  output?: string;
  /** Whether a part of the fleet had been started and was stopped again. */
  isUndone?: boolean;
}

/** Thrown when a fleet failed to start; no part of it is left running. */
export class StartError extends PacelineError {
  readonly output: string;
  readonly isUndone: boolean;

  constructor(code: string, message: string, options: StartErrorDetails = {}) {
    super(code, message, options);
    this.output = options.output ?? "";
    this.isUndone = options.isUndone ?? false;
  }
}
