/** Ends the process when the app has an error that nobody caught. */
import { logLostWork } from "./background-work.js";
import { errorLine } from "./error-line.js";
import { hintOnListening } from "./listening-hint.js";

/**
 * Logs an uncaught exception or an unhandled rejection with its stack, then exits 1. Going on would mean to serve from a
 * state that nobody thought of; the supervisor starts a fresh process at once.
 *
 * @param beforeExit is given a line that says what happened, and the time it takes is waited for.
 */
export function exitOnUncaught(beforeExit: (message: string) => Promise<void>): void {
  let dying = false;
  const die = (kind: string, error: unknown) => {
    console.error(error);
    if (dying) return;
    dying = true;
    const hint = hintOnListening(error);
    if (hint !== "") console.error(hint.trim());
    logLostWork();
    void beforeExit(`${kind}: ${errorLine(error)}${hint}`).finally(() => process.exit(1));
  };
  process.on("uncaughtException", (error) => die("uncaught exception", error));
  process.on("unhandledRejection", (error) => die("unhandled rejection", error));
}
