/** Says what to do when an app listens by itself and its port is taken: by the instance beside it, mostly. */

/** A note to put behind the error's own words; empty when the error is another one. */
export function hintOnListening(error: unknown): string {
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  if (code !== "EADDRINUSE" || syscall !== "listen") return "";
  return " (does the app call listen() itself? Export it and leave that to Paceline)";
}
