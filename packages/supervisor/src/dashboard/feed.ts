/** Polls and follows the control socket for the dashboard until it is stopped, even if the supervisor exits. */
import type { FigureHistory, OpenRequestStatus, Status } from "../control/api.js";
import { ControlClient } from "../control/client.js";

const STATUS_MS = 1_000;
const STATUS_TIMEOUT_MS = 5_000;
const MINUTE_MS = 60_000;
/** The delay before a stream that ended is reopened, in milliseconds. */
const RETRY_MS = 1_000;
/** A new stream without lines after this time counts as empty, in milliseconds. */
const EMPTY_MS = 400;
/** Lines that arrive within this time are passed on together, in milliseconds. */
const GATHER_MS = 250;
/** The same for the first group of a stream. It is shorter, because stored lines arrive all at once. */
const FIRST_MS = 30;
/** Only the last lines between two frames are visible. */
const MAX_GATHERED = 1_000;

interface StatusFeed {
  onStatus(status: Status): void;
  /** Receives the figures of the last minutes, then the new ones with each status. */
  onHistory?(zoom: "seconds" | "minutes", history: FigureHistory): void;
  /** Whether the figures by minutes are also needed. */
  wantsMinutes?(): boolean;
  /** The name whose open requests are also needed. */
  watched?(): string | undefined;
  onOpen?(name: string, requests: OpenRequestStatus[]): void;
  /** Called after each failed attempt. */
  onLost(): void;
}

type WatchLine = Status & { history?: FigureHistory };

/** Gets the status once a second, over one connection. Returns a function that stops it. */
export function feedStatus(
  socketPath: string,
  { onStatus, onHistory, wantsMinutes = () => false, watched = () => undefined, onOpen, onLost }: StatusFeed,
): () => void {
  let stopped = false;
  let controller = new AbortController();
  let retry: NodeJS.Timeout | undefined;
  let silence: NodeJS.Timeout | undefined;
  /** The supervisor of an earlier version cannot be followed, so it is polled. */
  let mustAsk = false;
  let minutesOf = { pid: 0, until: 0 };
  const client = () => new ControlClient({ socketPath, timeoutMs: STATUS_TIMEOUT_MS });
  const take = ({ history, ...status }: WatchLine) => {
    if (stopped) return;
    if (history !== undefined) onHistory?.("seconds", history);
    onStatus(status);
    if (history !== undefined) void askMore(status).catch(() => {});
  };
  /** Requests data that only some views need. Failures are visible in the status. */
  const askMore = async ({ pid }: Status) => {
    if (minutesOf.pid !== pid) minutesOf = { pid, until: 0 };
    if (wantsMinutes() && Date.now() - minutesOf.until >= MINUTE_MS) {
      const before = minutesOf.until;
      minutesOf.until = Date.now();
      const minutes = await client().history("minutes", before);
      minutesOf.until = minutes.now;
      if (!stopped) onHistory?.("minutes", minutes);
    }
    const name = watched();
    if (name === undefined || onOpen === undefined) return;
    const requests = await client().openRequests(name);
    if (!stopped) onOpen(name, requests);
  };
  const notSilent = () => {
    clearTimeout(silence);
    if (!stopped) silence = setTimeout(() => controller.abort(), STATUS_TIMEOUT_MS);
  };
  const follow = async () => {
    controller = new AbortController();
    try {
      notSilent();
      if (mustAsk) return take(await client().status());
      await new ControlClient({ socketPath }).read(
        "/v1/watch?follow=1",
        (lines) => {
          notSilent();
          // Other lines report that lines were lost because this client reads too slowly. Only the newest status matters.
          const found = (lines as WatchLine[]).filter(({ pid }) => pid !== undefined);
          for (const { history } of found.slice(0, -1))
            if (history !== undefined && !stopped) onHistory?.("seconds", history);
          const last = found.at(-1);
          if (last !== undefined) take(last);
        },
        controller.signal,
      );
      if (!stopped) onLost();
    } catch (error) {
      mustAsk = (error as { code?: string }).code === "not_found";
      if (!stopped && !mustAsk) onLost();
    } finally {
      clearTimeout(silence);
      if (!stopped) retry = setTimeout(() => void follow(), STATUS_MS);
    }
  };
  void follow();
  return () => {
    stopped = true;
    clearTimeout(retry);
    clearTimeout(silence);
    controller.abort();
  };
}

/**
 * Follows a stream of lines. `onLines` receives them in groups; `fresh` marks the first group of a new stream, which has the stored lines.
 * Returns a function that stops it.
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
    // The stream ended with its supervisor, or because this client reads too slowly. In both cases it is opened again.
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
