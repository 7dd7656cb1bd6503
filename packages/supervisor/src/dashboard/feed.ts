/** Polls and follows the control socket for the dashboard until it is stopped, even if the supervisor goes away. */
import type { Status } from "../control/api.js";
import { ControlClient } from "../control/client.js";

const STATUS_MS = 1_000;
const STATUS_TIMEOUT_MS = 5_000;
/** The delay before a stream that ended is opened again, in milliseconds. */
const RETRY_MS = 1_000;
/** A new stream without lines after this time counts as empty. */
const EMPTY_MS = 400;
/** Lines that arrive within this time are passed on together. */
const GATHER_MS = 250;
/** Stored lines arrive at once. */
const FIRST_MS = 30;
/** Of the lines between two frames only the last ones are visible. */
const MAX_GATHERED = 1_000;

interface StatusFeed {
  onStatus(status: Status): void;
  /** Called after each failed attempt. */
  onLost(): void;
}

/** Requests the status once a second. Returns a function that stops it. */
export function feedStatus(socketPath: string, { onStatus, onLost }: StatusFeed): () => void {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const ask = async () => {
    const askedAt = performance.now();
    try {
      const status = await new ControlClient({ socketPath, timeoutMs: STATUS_TIMEOUT_MS }).status();
      if (!stopped) onStatus(status);
    } catch {
      // Every failure is retried.
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
 * Follows a stream of lines. `onLines` receives them in groups; `fresh` marks the first group of a new stream, with the stored
 * lines. Returns a function that stops it.
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
    // An empty stream is also reported.
    timer ??= setTimeout(flush, EMPTY_MS);
    // The stream ended with its supervisor, or because we read too slowly. Opening it again solves both.
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
