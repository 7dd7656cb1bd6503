/** The error class of the control plane: a stable code for programs, a clear line for people. */

/**
 * Listen errors have the system's codes (`EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, …) or `ELISTEN` if there is none; other codes
 * are named where they are thrown.
 */
export class PacelineError extends Error {
  override readonly name = "PacelineError";
  /** Stable, for programs. */
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
