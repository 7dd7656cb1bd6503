/** Follows the fleet: its status and events, its log while a view shows it, and the documents that change rarely. */
import type { FigureHistory, FleetEvent, LogLine, OpenRequestStatus, Status } from "../control/api.js";
import { Connection, LineParser, RequestError, StreamParser } from "./connection.js";
import type { Change } from "./model.js";
import type { Zoom } from "./series.js";
import { send, set, state } from "./store.js";

const RETRY_MS = 1000;
const MAX_RETRY_MS = 10_000;
const REFRESH_HISTORY_MS = 60_000;
/**
 * The supervisor writes an operation to the history a little after the event. The page waits this long, in milliseconds, before it reads
 * the history again.
 */
const REFRESH_OPERATIONS_MS = 1500;
const REFRESH_OPEN_MS = 1900;
const MAX_OPEN = 12;
const FIRST_LINES = 2000;
const MAX_HELD = 5000;

const token = () => sessionStorage.getItem("token") ?? "";
export const connection = new Connection(token);

let following = new AbortController();
let retryMs = RETRY_MS;
let retry: ReturnType<typeof setTimeout> | undefined;

export async function follow(): Promise<void> {
  clearTimeout(retry);
  following.abort();
  following = new AbortController();
  const { signal } = following;
  try {
    const parser = new StreamParser();
    const take = (text: string) => {
      for (const { event, data } of parser.push(text)) receive(event, JSON.parse(data));
    };
    void refreshAll();
    await connection.follow("/v1/stream", take, { signal, isRegular: true });
    lost("the supervisor has closed the connection", signal);
  } catch (error) {
    lost(error, signal);
  }
}

export function stopFollowing(): void {
  clearTimeout(retry);
  following.abort();
  closeLog();
}

export function isFollowing(): boolean {
  return !following.signal.aborted;
}

function lost(error: unknown, signal: AbortSignal): void {
  if (signal.aborted) return;
  closeLog();
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof RequestError && error.isLocked)
    return set({ link: { state: "locked", reason: token() === "" ? "" : reason }, status: null });
  set({ link: { state: "lost", reason: `no connection: ${reason}` } });
  retry = setTimeout(() => void follow(), retryMs);
  retryMs = Math.min(MAX_RETRY_MS, retryMs * 2);
}

function receive(event: string, data: unknown): void {
  switch (event) {
    case "hello":
      retryMs = RETRY_MS;
      send({ type: "hello", ...(data as { mayWrite: boolean }) });
      return openLog();
    case "events":
      return send({ type: "events", events: data as FleetEvent[] });
    case "status": {
      const before = state.status;
      const message = data as { at: number; status: Status; recent: FigureHistory | null };
      send({ type: "status", ...message });
      const { status } = message;
      void refreshOpen(message.at);
      if (before?.lastDeath?.id !== status.lastDeath?.id) void refresh("deaths");
      if (before !== null && changesOf(before) !== changesOf(status))
        setTimeout(() => void refresh("operations"), REFRESH_OPERATIONS_MS);
    }
  }
}

/** Returns a text that changes with the documents that an operation changes. */
function changesOf({ pools, lock }: Status): string {
  const parts = pools.map(({ generation, wanted, rollout, deploy }) => [
    generation,
    wanted,
    rollout?.kind,
    deploy !== null,
  ]);
  return JSON.stringify([parts, lock]);
}

/** A document that cannot be read is tried again at the next change. */
async function quietly(read: () => Promise<void>): Promise<void> {
  await read().catch(() => {});
}

/** Reads a list that has its own document. */
export function refresh(list: "deaths" | "operations"): Promise<void> {
  return quietly(async () => set(await connection.document<Change>(`/v1/${list}`)));
}

let historyTimer: ReturnType<typeof setTimeout> | undefined;

export async function refreshHistory(zoom: Zoom): Promise<void> {
  clearTimeout(historyTimer);
  historyTimer = setTimeout(() => void refreshHistory(state.zoom), REFRESH_HISTORY_MS);
  if (document.hidden) return;
  await quietly(async () => {
    const history = await connection.document<FigureHistory>(`/v1/history?zoom=${zoom}`);
    send({ type: "history", zoom, history });
  });
}

let openAskedAt = 0;

/** Reads the open requests of the shown process. Less often than the status, because the supervisor must ask the balancers. */
async function refreshOpen(at: number): Promise<void> {
  const { view, name } = state.route;
  if (view !== "instance" || Math.abs(at - openAskedAt) < REFRESH_OPEN_MS) return;
  openAskedAt = at;
  await quietly(async () => {
    const path = `/v1/open-requests?name=${encodeURIComponent(name)}`;
    const { requests } = await connection.document<{ requests: OpenRequestStatus[] }>(path);
    const open = requests.sort((a, b) => b.ageMs - a.ageMs).slice(0, MAX_OPEN);
    if (state.route.name === name) set({ open });
  });
}

async function refreshAll(): Promise<void> {
  const minutes = state.zoom === "minutes" ? [refreshHistory("minutes")] : [];
  await Promise.all([refreshHistory("seconds"), ...minutes, refresh("deaths"), refresh("operations"), readSubject()]);
}

/** Reads the report or the operation that the page's address names. */
async function readSubject(): Promise<void> {
  const { view, name } = state.route;
  if (name === "" || (view !== "death" && view !== "deploy")) return;
  const [list, subject] = view === "death" ? ["deaths", "death"] : ["operations", "operation"];
  try {
    set({ [subject as "death"]: await connection.document(`/v1/${list}/${encodeURIComponent(name)}`) });
  } catch (error) {
    if (error instanceof RequestError && state.route.name === name) set({ unread: error.message });
  }
}

/** Reads the documents of a new view. */
export function followView(): void {
  openAskedAt = 0;
  openLog();
  void readSubject();
  if (state.route.view === "deploy") void refresh("operations");
}

// The log, while a view shows it:

let log: { path: string; ending: AbortController } | undefined;
let held: LogLine[] = [];
let isReleasing = false;

function closeLog(): void {
  log?.ending.abort();
  log = undefined;
}

function openLog(): void {
  const { view, name } = state.route;
  const query = view === "instance" ? `&name=${encodeURIComponent(name)}` : "";
  const path = view === "log" || view === "instance" ? `/v1/logs?follow=1&lines=${FIRST_LINES}${query}` : "";
  if (log?.path === path) return;
  closeLog();
  if (path === "" || state.link.state !== "live") return;
  const ending = new AbortController();
  log = { path, ending };
  held = [];
  send({ type: "logsOpened" });
  const parser = new LineParser();
  const take = (text: string) => {
    for (const line of parser.push(text)) held.push(JSON.parse(line) as LogLine);
    if (held.length > MAX_HELD) held = held.slice(-MAX_HELD);
    if (!isReleasing) requestAnimationFrame(releaseHeld);
    isReleasing = true;
  };
  connection.follow(path, take, { signal: ending.signal }).catch(() => {
    // The other stream notices a lost connection and reconnects. Only an unknown name can cause an error here.
  });
}

/** Draws the lines that have arrived since the last drawing all at once. */
export function releaseHeld(): void {
  isReleasing = false;
  if (state.log.isPaused || held.length === 0) return;
  const lines = held;
  held = [];
  send({ type: "logs", lines });
}
