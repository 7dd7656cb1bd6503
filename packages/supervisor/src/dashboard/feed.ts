/** Polls and follows the control socket for the dashboard until it is stopped, even if the supervisor goes away. */
import type { FigureHistory, OpenRequestStatus, Status } from "../control/api.js";
import { ControlClient } from "../control/client.js";

const STATUS_MS = 1_000;
const STATUS_TIMEOUT_MS = 5_000;
const MINUTE_MS = 60_000;
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
  /** Receives the figures of the last minutes, then what is new of them with each status. */
  onHistory?(zoom: "seconds" | "minutes", history: FigureHistory): void;
  /** Whether the figures by minutes are wanted, too. */
  wantsMinutes?(): boolean;
  /** The name whose open requests are wanted, too. */
  watched?(): string | undefined;
  onOpen?(name: string, requests: OpenRequestStatus[]): void;
  /** Called after each failed attempt. */
  onLost(): void;
}

/** Requests the status once a second. Returns a function that stops it. */
export function feedStatus(
  socketPath: string,
  { onStatus, onHistory, wantsMinutes = () => false, watched = () => undefined, onOpen, onLost }: StatusFeed,
): () => void {
  const heard = { seconds: 0, minutes: 0 };
  let supervisor = 0;
  const askHistory = async (zoom: "seconds" | "minutes") => {
    const client = new ControlClient({ socketPath, timeoutMs: STATUS_TIMEOUT_MS });
    const history = await client.history(zoom, heard[zoom]);
    heard[zoom] = history.now;
    if (!stopped) onHistory?.(zoom, history);
  };
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const ask = async () => {
    const askedAt = performance.now();
    try {
      await askOnce();
    } catch {
      // Every failure is retried.
      if (!stopped) onLost();
    }
    if (!stopped) timer = setTimeout(() => void ask(), Math.max(50, askedAt + STATUS_MS - performance.now()));
  };
  const askOnce = async () => {
    const status = await new ControlClient({ socketPath, timeoutMs: STATUS_TIMEOUT_MS }).status();
    if (status.pid !== supervisor) heard.seconds = heard.minutes = 0;
    supervisor = status.pid;
    // The supervisor of an earlier version keeps no history and lists no requests.
    const isCurrent = status.traffic !== undefined;
    if (onHistory !== undefined && isCurrent) {
      await askHistory("seconds");
      if (wantsMinutes() && Date.now() - heard.minutes >= MINUTE_MS) await askHistory("minutes");
    }
    if (!stopped) onStatus(status);
    const name = watched();
    if (name === undefined || onOpen === undefined || !isCurrent) return;
    const requests = await new ControlClient({ socketPath, timeoutMs: STATUS_TIMEOUT_MS }).openRequests(name);
    if (!stopped) onOpen(name, requests);
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
