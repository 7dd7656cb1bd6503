/** What the dashboard is told by the control socket, again and again until it is stopped, whatever becomes of the supervisor. */
import type { Status } from "../control/api.js";
import { ControlClient } from "../control/client.js";

const STATUS_MS = 1_000;
const STATUS_TIMEOUT_MS = 5_000;
/** Before a stream that ended is asked for again. */
const RETRY_MS = 1_000;
/** A new stream that has told nothing by then begins empty. */
const EMPTY_MS = 400;
/** Lines that come fast are handed on together. */
const GATHER_MS = 250;
/** Those that there were come at once. */
const FIRST_MS = 30;
/** Of those that come between two frames, only the last can be seen. */
const MAX_GATHERED = 1_000;

export interface StatusFeed {
  onStatus(status: Status): void;
  /** Told again with every try that is in vain. */
  onLost(): void;
}

/** Asks for the status once a second; returns what ends it. */
export function feedStatus(socketPath: string, { onStatus, onLost }: StatusFeed): () => void {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const ask = async () => {
    const askedAt = performance.now();
    try {
      const status = await new ControlClient({ socketPath, timeoutMs: STATUS_TIMEOUT_MS }).status();
      if (!stopped) onStatus(status);
    } catch {
      // Whatever the reason, it is asked again.
      if (!stopped) onLost();
    }
    if (!stopped) timer = setTimeout(() => void ask(), Math.max(50, askedAt + STATUS_MS - performance.now()));
  };
  void ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/**
 * Follows a stream of lines; `onLines` gets them in groups, with `fresh` when they come from a new stream, which begins
 * with the lines there were. Returns what ends it.
 */
export function feedLines<Line>(
  socketPath: string,
  path: string,
  onLines: (lines: Line[], fresh: boolean) => void,
): () => void {
  const controller = new AbortController();
  let gathered: Line[] = [];
  let fresh = true;
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    timer = undefined;
    if (controller.signal.aborted) return;
    onLines(gathered, fresh);
    gathered = [];
    fresh = false;
  };
  const take = (lines: object[]) => {
    const isFirst = gathered.length === 0;
    for (const line of lines) gathered.push(line as Line);
    if (gathered.length > 2 * MAX_GATHERED) gathered = gathered.slice(-MAX_GATHERED);
    if (fresh && isFirst) {
      clearTimeout(timer);
      timer = setTimeout(flush, FIRST_MS);
    }
    timer ??= setTimeout(flush, GATHER_MS);
  };
  let retry: NodeJS.Timeout | undefined;
  const follow = async () => {
    // A stream that has nothing to tell is told of as well.
    timer ??= setTimeout(flush, EMPTY_MS);
    // It ended with its supervisor, or because we read too slowly; both are mended by asking again.
    await new ControlClient({ socketPath }).read(path, take, controller.signal).catch(() => {});
    if (controller.signal.aborted) return;
    clearTimeout(timer);
    timer = undefined;
    if (gathered.length > 0) flush();
    fresh = true;
    retry = setTimeout(() => void follow(), RETRY_MS);
  };
  void follow();
  return () => {
    clearTimeout(timer);
    clearTimeout(retry);
    controller.abort();
  };
}
