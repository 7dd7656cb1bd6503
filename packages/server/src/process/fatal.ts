/** Ends the process when the app has an error that nobody caught. */

import { logLostWork } from "../shared/bridge.js";
import { errorLine, hintOnListening } from "../shared/errors.js";

type Kind = "uncaughtException" | "unhandledRejection";

/**
 * Logs an uncaught exception or an unhandled rejection with its stack, then exits 1. Going on would mean to serve from a
 * state that nobody thought of; the supervisor starts a fresh process at once. An app that listens for one of these itself has thought
 * of it: then its listeners decide, as on Node.
 *
 * @param beforeExit is given a line that says what happened, and the time it takes is waited for.
 */
export function exitOnUncaught(beforeExit: (message: string) => Promise<void>): void {
  let dying = false;
  const die = (kind: string, error: unknown) => {
    // Where nobody reads what is written here, that is an error as well, which would come again and again.
    if (dying) return;
    dying = true;
    console.error(error);
    const hint = hintOnListening(error);
    if (hint !== "") console.error(hint.trim());
    logLostWork();
    void beforeExit(`${kind}: ${errorLine(error)}${hint}`).finally(() => process.exit(1));
  };
  const others = (kind: Kind, own: unknown) => process.listeners(kind as never).filter((each) => each !== own);
  const onException = (error: unknown) => {
    if (others("uncaughtException", onException).length === 0) die("uncaught exception", error);
  };
  const onRejection = (error: unknown) => {
    if (others("unhandledRejection", onRejection).length > 0) return;
    // One that nobody listens for as such is an exception to those who listen for these.
    const listeners = others("uncaughtException", onException) as ((error: unknown, origin: string) => void)[];
    if (listeners.length === 0) die("unhandled rejection", error);
    for (const listener of listeners) listener.call(process, error, "unhandledRejection");
  };
  process.on("uncaughtException", onException);
  process.on("unhandledRejection", onRejection);
}
