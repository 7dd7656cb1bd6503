/** Exits the process on an uncaught error of the app, and logs where the app has ended it itself. */
import { isLostOutput } from "@paceline/wire";
import { logLostWork } from "../shared/bridge.js";
import { errorLine, hintOnListening } from "../shared/errors.js";

type Kind = "uncaughtException" | "unhandledRejection";

/**
 * Logs an uncaught exception or unhandled rejection with its stack, then exits with 1. The process is in an unknown state, and the
 * supervisor starts a new one at once. An app with its own listener decides for itself, as on Node.
 * @param beforeExit receives a line about the error and is awaited
 */
export function exitOnUncaught(beforeExit: (message: string) => Promise<void>): void {
  let dying = false;
  const die = (kind: string, error: unknown) => {
    // A write error of stderr also arrives here, and would repeat forever.
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
    // A rejection without its own listener becomes an exception.
    const listeners = others("uncaughtException", onException) as ((error: unknown, origin: string) => void)[];
    if (listeners.length === 0) die("unhandled rejection", error);
    for (const listener of listeners) listener.call(process, error, "unhandledRejection");
  };
  process.on("uncaughtException", onException);
  process.on("unhandledRejection", onRejection);
}

/**
 * Returns the part of an error to print. Bun also prints lines of the code that threw. For a listen(), those would be lines of this
 * package's wrapper.
 */
function withoutOwnCode(error: unknown): unknown {
  if (process.versions.bun === undefined || !(error instanceof Error)) return error;
  const own = import.meta.dirname;
  const lines = error.stack?.split("\n") ?? [];
  const first = lines.find((line) => /^ +at .*\(?\//.test(line));
  if (!first?.includes(own)) return error;
  return lines.filter((line) => !line.includes(own)).join("\n");
}

/** Signals that end a process unless it listens for them. */
const ENDING = new Map<string | number | undefined, NodeJS.Signals>(
  (
    [
      ["SIGHUP", 1],
      ["SIGQUIT", 3],
      ["SIGABRT", 6],
      ["SIGKILL", 9],
      ["SIGTERM", 15],
    ] as const
  ).flatMap(([name, number]) => [
    [name, name],
    [number, name],
  ]),
);

/** Logs the place where the app sends a signal to its own process. Otherwise it would look like a signal from outside. */
export function watchOwnSignals(isLeaving: () => boolean): void {
  const { kill } = process;
  process.kill = (pid, signal = "SIGTERM") => {
    const name = ENDING.get(signal);
    // The instance's own listener for SIGTERM also ends the process.
    const ends = name !== undefined && (name === "SIGTERM" || process.listenerCount(name) === 0);
    if (ends && pid === process.pid && !isLeaving()) {
      // The supervisor recognizes this line (exitOfApp in packages/supervisor/src/logs/output.ts).
      console.error(
        `the app ended this process with process.kill(process.pid, "${name}")${placeIn(new Error().stack)}`,
      );
    }
    return kill.call(process, pid, signal);
  };
}

/** Returns the place of the first caller outside this file, for example ` in shutdown (app.js:12)`. */
function placeIn(stack = ""): string {
  const caller = stack.split("\n").find((line) => /^ +at /.test(line) && !line.includes(import.meta.filename));
  const [, name, place] = /^ +at (?:(?:async )?(.+) \()?(?:.*\/)?([^/]+:\d+):\d+\)?$/.exec(caller ?? "") ?? [];
  return place === undefined ? "" : ` in ${name === undefined ? place : `${name} (${place})`}`;
}
