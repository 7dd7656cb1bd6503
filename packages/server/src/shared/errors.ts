/** The one error class of the server. */

/**
 * What went wrong, by `code`. What kept the server from running:
 * - `usage`: the command line cannot be understood; exit status 2.
 * - `app-not-found`: there is no file at the app's path.
 * - `app-unusable`: the module has no default export that can be served.
 * - `app-threw`: the module threw while it was loaded; `cause` is its own error.
 * - `start-failed`: the app's start() threw or rejected; `cause` is its own error.
 * - `static-unusable`: the folder of files is none, or an option for it cannot be understood.
 * - `proxy-unusable`: the upstream of a proxy is no URL, its certificates cannot be read, or this is not Node.
 * - `file-shrunk`: a file became shorter while it was sent.
 * - `address-in-use`: another program listens there.
 * - `cannot-listen`: the address cannot be listened on for another reason.
 * - `cannot-log`: the file of the access log cannot be opened.
 *
 * What an app asked for in vain:
 * - `bad-argument`: a timer or a deferred job cannot be made of what was given.
 * - `defer-queue-full`: as many deferred jobs wait as `maxDeferredJobs` allows.
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

/** A note to put behind the error's own words; empty when the error is another one. */
export function hintOnListening(error: unknown): string {
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  if (code !== "EADDRINUSE" || syscall !== "listen") return "";
  return " (does the app call listen() itself? Export it and leave that to Paceline)";
}

/** Bun's errors of a module that cannot be parsed have no stack, but this. */
interface Position {
  file: string;
  line: number;
  column: number;
}

/** What an error says in one line, with its place where it knows one and does not say it. */
export function errorLine(error: unknown): string {
  const place = positionOf(error);
  return place === undefined ? `${error}` : `${error} at ${place.file}:${place.line}:${place.column}`;
}

function positionOf(error: unknown): Position | undefined {
  if (typeof error !== "object" || error === null || !("position" in error)) return undefined;
  const { file, line, column } = (error.position ?? {}) as Partial<Position>;
  return typeof file === "string" && typeof line === "number" && typeof column === "number"
    ? { file, line, column }
    : undefined;
}
