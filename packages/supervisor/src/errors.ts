/** The one error class of the control plane: a stable code for programs, a clear line for people. */

/**
 * What can be told apart by code:
 * `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL` and other codes of the system for a listen address that cannot be had;
 * `ELISTEN` for an address that has no such code; others are named where they are thrown.
 */
export class PacelineError extends Error {
  override readonly name = "PacelineError";
  /** Stable; meant for programs. */
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
