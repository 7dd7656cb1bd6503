/** The error class of the server. */

/**
 * A failure, by `code`. The server cannot run:
 * - `usage`: the command line is invalid; exit status 2.
 * - `app-not-found`: there is no file at the app's path.
 * - `app-unusable`: the module has no default export that can be served.
 * - `app-threw`: the module threw while loading; `cause` is its error.
 * - `start-failed`: the app's start() threw or rejected; `cause` is its error.
 * - `static-unusable`: the folder of files does not exist, or one of its options is invalid.
 * - `proxy-unusable`: the upstream is not a URL, its certificates cannot be read, or this is not Node.
 * - `file-shrunk`: a file became shorter while it was sent.
 * - `address-in-use`: another program listens there.
 * - `cannot-listen`: listening on the address failed for another reason.
 * - `cannot-log`: the access-log file cannot be opened.
 *
 * A call of the app failed:
 * - `bad-argument`: an argument of a timer or a deferred job is invalid.
 * - `defer-queue-full`: `maxDeferredJobs` are already queued.
 */
export class ServerError extends Error {
  override readonly name = "ServerError";
  readonly code:
    | "usage"
    | "app-not-found"
    | "app-unusable"
    | "app-threw"
    | "start-failed"
    | "static-unusable"
    | "proxy-unusable"
    | "file-shrunk"
    | "address-in-use"
    | "cannot-listen"
    | "cannot-log"
    | "bad-argument"
    | "defer-queue-full";

  constructor(code: ServerError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Returns a note to append to a listen error; empty for other errors. */
export function hintOnListening(error: unknown): string {
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  if (code !== "EADDRINUSE" || syscall !== "listen") return "";
  return " (only the first server of an app needs no port; give each further one its own, such as 9000 + Number(process.env.PACELINE_INDEX))";
}

/** About an app's server of node:https, or of Bun.serve with `tls`. */
export const TLS_UNUSED =
  "the app's own TLS is not used; Paceline serves the app over HTTP: end TLS in front (docs/security.md)";

/** Bun's syntax errors of a module have no stack, but this position. */
interface Position {
  file: string;
  line: number;
  column: number;
}

/** An error that only counts other errors: Bun's for a module with several mistakes, and the one for failed connections. */
const ONLY_COUNTS = /^AggregateError(?:: (?:\d+ errors building .*|All promises were rejected.*)?)?$/;

/**
 * Returns an error in one line: its first line, with its place if that is known and not in the message. If there are several errors,
 * returns the first one.
 */
export function errorLine(error: unknown): string {
  const text = `${error}`.trim().replace(/^(\w+:)\s+/, "$1 ");
  const line = text.split("\n", 1)[0] as string;
  const errors = error instanceof AggregateError ? error.errors : [];
  if (errors.length > 0 && ONLY_COUNTS.test(line)) {
    const more = errors.length === 1 ? "" : ` (and ${errors.length - 1} more)`;
    // An aggregate may contain itself.
    return `${errorLine(errors[0] === error ? line : errors[0])}${more}`;
  }
  const place = positionOf(error);
  return place === undefined ? line : `${line} at ${place.file}:${place.line}:${place.column}`;
}

function positionOf(error: unknown): Position | undefined {
  if (typeof error !== "object" || error === null || !("position" in error)) return undefined;
  const { file, line, column } = (error.position ?? {}) as Partial<Position>;
  return typeof file === "string" && typeof line === "number" && typeof column === "number"
    ? { file, line, column }
    : undefined;
}
