/** Ends the process on an uncaught error of the app. */
import { isLostOutput } from "@paceline/wire";
import { logLostWork } from "../shared/bridge.js";
import { errorLine, hintOnListening } from "../shared/errors.js";

type Kind = "uncaughtException" | "unhandledRejection";

/**
 * Logs an uncaught exception or unhandled rejection with its stack, then exits with 1. The process is in an unknown state, and
 * the supervisor starts a new one at once. An app with its own listener decides for itself, as on Node.
 *
 * @param beforeExit receives a line about the error and is awaited.
 */
export function exitOnUncaught(beforeExit: (message: string) => Promise<void>): void {
  let dying = false;
  const die = (kind: string, error: unknown) => {
    // A write error of stderr arrives here as well and would repeat forever.
    if (dying) return;
    dying = true;
    console.error(withoutOwnCode(error));
    const hint = hintOnListening(error);
    if (hint !== "") console.error(`${errorLine(error)}${hint}`);
    logLostWork();
    void beforeExit(`${kind}: ${errorLine(error)}${hint}`).finally(() => process.exit(1));
  };
  const others = (kind: Kind, own: unknown) => process.listeners(kind as never).filter((each) => each !== own);
  const onException = (error: unknown) => {
    if (isLostOutput(error)) return;
    if (others("uncaughtException", onException).length === 0) die("uncaught exception", error);
  };
  const onRejection = (error: unknown) => {
    if (others("unhandledRejection", onRejection).length > 0) return;
    // A rejection without a listener of its own becomes an exception.
    const listeners = others("uncaughtException", onException) as ((error: unknown, origin: string) => void)[];
    if (listeners.length === 0) die("unhandled rejection", error);
    for (const listener of listeners) listener.call(process, error, "unhandledRejection");
  };
  process.on("uncaughtException", onException);
  process.on("unhandledRejection", onRejection);
}

/** Returns what to print of an error. Bun prints lines of the code that threw: for a listen() they would be ours, which wraps it. */
function withoutOwnCode(error: unknown): unknown {
  if (process.versions.bun === undefined || !(error instanceof Error)) return error;
  const own = import.meta.dirname;
  const lines = error.stack?.split("\n") ?? [];
  const first = lines.find((line) => /^ +at .*\(?\//.test(line));
  if (!first?.includes(own)) return error;
  return lines.filter((line) => !line.includes(own)).join("\n");
}
