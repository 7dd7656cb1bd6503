/** Runs the page: follows the fleet, keeps the state, draws it, and listens to keys. */
import type { DeathDetails, FigureHistory, FleetEvent, LogLine, OpenRequestStatus, Status } from "../control/api.js";
import type { DeathReport } from "../core/deaths.js";
import type { HistoryEntry, HistorySummary } from "../core/history.js";
import { Connection, LineParser, RequestError, StreamParser } from "./connection.js";
import { show } from "./dom.js";
import { frame, type OnFrame } from "./frame.js";
import { FIRST, filtered, hrefOf, type Message, parseRoute, reduce, type State } from "./model.js";
import type { Zoom } from "./series.js";

const RETRY_MS = 1000;
const MAX_RETRY_MS = 10_000;
/** Nobody looks at a page that has been hidden for so long. */
const HIDDEN_MS = 30_000;
const REFRESH_HISTORY_MS = 60_000;
/** The history of operations is written a moment after their events. */
const REFRESH_OPERATIONS_MS = 1500;
const REFRESH_OPEN_MS = 1900;
const MAX_OPEN = 12;
const FIRST_LINES = 2000;
const MAX_HELD = 5000;

let state: State = { ...FIRST, route: takeRoute() };
const connection = new Connection(() => sessionStorage.getItem("token") ?? "");

// Drawing.

const root = document.getElementById("app") as HTMLElement;
let isDrawing = false;
const atEnd = new WeakSet<Element>();
/** Moves the focus when a new view has been drawn. */
let moveFocus: (() => void) | undefined;

function send(message: Message): void {
  state = reduce(state, message);
  if (message.type === "log") releaseHeld();
  if (isDrawing || document.hidden) return;
  isDrawing = true;
  requestAnimationFrame(draw);
}

function draw(): void {
  isDrawing = false;
  for (const list of root.querySelectorAll(".follows")) {
    if (list.scrollTop + list.clientHeight >= list.scrollHeight - 8) atEnd.add(list);
    else atEnd.delete(list);
  }
  const known = new Set(root.querySelectorAll(".follows"));
  show(root, frame(state, on, theme));
  for (const list of root.querySelectorAll(".follows"))
    if (!known.has(list) || (atEnd.has(list) && !state.log.isPaused)) list.scrollTop = list.scrollHeight;
  const dialog = document.getElementById("dialog") as HTMLDialogElement;
  if (state.dialog !== null && !dialog.open) dialog.showModal();
  else if (state.dialog === null && dialog.open) dialog.close();
  document.title = titleOf(state);
  moveFocus?.();
  moveFocus = undefined;
}

function titleOf({ status, link }: State): string {
  if (status === null) return "Paceline";
  const failing = status.pools.flatMap((pool) => pool.instances).filter((each) => each.state !== "ready").length;
  const sign = link.state === "lost" ? "? " : failing > 0 ? `▲ ${failing} ` : "";
  return `${sign}${status.name} · Paceline`;
}

// Colours.

let theme = localStorage.getItem("theme") ?? "system";
document.documentElement.dataset.theme = theme;

function changeTheme(): void {
  theme = { system: "dark", dark: "light" }[theme] ?? "system";
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
  send({ type: "set", change: {} });
}

// Following.

let following = new AbortController();
let retryMs = RETRY_MS;
let retry: ReturnType<typeof setTimeout> | undefined;

async function follow(): Promise<void> {
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

function lost(error: unknown, signal: AbortSignal): void {
  if (signal.aborted) return;
  closeLog();
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof RequestError && error.isLocked) {
    const isFirst = (sessionStorage.getItem("token") ?? "") === "";
    return send({ type: "set", change: { link: { state: "locked", reason: isFirst ? "" : reason }, status: null } });
  }
  send({ type: "set", change: { link: { state: "lost", reason: `no connection to the supervisor: ${reason}` } } });
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
      if (before?.lastDeath?.id !== status.lastDeath?.id) void refreshDeaths();
      if (before !== null && changesOf(before) !== changesOf(status))
        setTimeout(() => void refreshOperations(), REFRESH_OPERATIONS_MS);
    }
  }
}

/** What an operation changes. */
function changesOf({ pools, lock }: Status): string {
  const parts = pools.map(({ generation, wanted, rollout, deploy }) => [
    generation,
    wanted,
    rollout?.kind,
    deploy !== null,
  ]);
  return JSON.stringify([parts, lock]);
}

/** What cannot be read now is tried again with the next change. */
async function quietly(read: () => Promise<void>): Promise<void> {
  await read().catch(() => {});
}

let historyTimer: ReturnType<typeof setTimeout> | undefined;

async function refreshHistory(zoom: Zoom): Promise<void> {
  clearTimeout(historyTimer);
  historyTimer = setTimeout(() => void refreshHistory(state.zoom), REFRESH_HISTORY_MS);
  if (document.hidden) return;
  await quietly(async () => {
    const history = await connection.document<FigureHistory>(`/v1/history?zoom=${zoom}`);
    send({ type: "history", zoom, history });
  });
}

let openAskedAt = 0;

/** The balancers are asked, so less often than for the status, and only for the process that is shown. */
async function refreshOpen(at: number): Promise<void> {
  const { view, name } = state.route;
  if (view !== "instance" || Math.abs(at - openAskedAt) < REFRESH_OPEN_MS) return;
  openAskedAt = at;
  await quietly(async () => {
    const path = `/v1/open-requests?name=${encodeURIComponent(name)}`;
    const { requests } = await connection.document<{ requests: OpenRequestStatus[] }>(path);
    const open = requests.sort((a, b) => b.ageMs - a.ageMs).slice(0, MAX_OPEN);
    if (state.route.name === name) send({ type: "set", change: { open } });
  });
}

function refreshDeaths(): Promise<void> {
  return quietly(async () => {
    const { deaths } = await connection.document<{ deaths: DeathDetails[] }>("/v1/deaths");
    send({ type: "set", change: { deaths } });
  });
}

function refreshOperations(): Promise<void> {
  return quietly(async () => {
    const { operations } = await connection.document<{ operations: HistorySummary[] }>("/v1/operations");
    send({ type: "set", change: { operations } });
  });
}

async function refreshAll(): Promise<void> {
  const minutes = state.zoom === "minutes" ? [refreshHistory("minutes")] : [];
  await Promise.all([refreshHistory("seconds"), ...minutes, refreshDeaths(), refreshOperations(), readSubject()]);
}

/** Reads the report or the operation that the address names. */
async function readSubject(): Promise<void> {
  const { view, name } = state.route;
  try {
    if (view === "death") {
      const death = await connection.document<DeathReport>(`/v1/deaths/${encodeURIComponent(name)}`);
      send({ type: "set", change: { death } });
    } else if (view === "deploy" && name !== "") {
      const operation = await connection.document<HistoryEntry>(`/v1/operations/${encodeURIComponent(name)}`);
      send({ type: "set", change: { operation } });
    }
  } catch (error) {
    if (error instanceof RequestError && state.route.name === name)
      send({ type: "set", change: { unread: error.message } });
  }
}

// The log, while a view shows it.

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
    // The other stream notices a lost connection, and begins anew. Only a name can be unknown here.
  });
}

/** Many lines that come together are drawn once. */
function releaseHeld(): void {
  isReleasing = false;
  if (state.log.isPaused || held.length === 0) return;
  const lines = held;
  held = [];
  send({ type: "logs", lines });
}

// What the views can do.

const on: OnFrame = {
  send,
  ask: (question) => send({ type: "set", change: { dialog: { kind: "question", question } } }),
  decide(does) {
    const { dialog } = state;
    if (dialog === null) return;
    send({ type: "set", change: { dialog: null } });
    if (does && dialog.kind === "question") void operate(dialog.question.path, dialog.question.body);
  },
  enter(token) {
    sessionStorage.setItem("token", token);
    send({ type: "set", change: { link: { state: "connecting" } } });
    void follow();
  },
  download() {
    const text = filtered(state.log).lines.map(
      ({ at, name, text }) => `${new Date(at).toISOString()} ${name} ${text}\n`,
    );
    const url = URL.createObjectURL(new Blob(text, { type: "text/plain" }));
    const a = document.createElement("a");
    a.href = url;
    a.download = `${state.status?.name ?? "paceline"}.log`;
    a.click();
    URL.revokeObjectURL(url);
  },
  theme: changeTheme,
  zoom() {
    const zoom = state.zoom === "seconds" ? "minutes" : "seconds";
    send({ type: "set", change: { zoom } });
    void refreshHistory(zoom);
  },
};

async function operate(path: string, body: object): Promise<void> {
  const say = (text: string, isBad = false) => send({ type: "set", change: { notice: { text, isBad } } });
  say("asked");
  try {
    const result = await connection.operate(path, body, (text) => say(text));
    say(result.message, !result.ok);
  } catch (error) {
    say((error as Error).message, true);
  }
  void refreshOperations();
}

// Addresses and keys.

/** Returns the view that the address names. A token in it is kept for this tab and disappears from the address and its history. */
function takeRoute(): State["route"] {
  const [, token] = /^#token=(.+)$/.exec(location.hash) ?? [];
  if (token !== undefined) {
    sessionStorage.setItem("token", decodeURIComponent(token));
    history.replaceState(null, "", "#/");
  }
  return parseRoute(location.hash);
}

addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  const hadToken = location.hash.startsWith("#token=");
  const before = state.route;
  const route = takeRoute();
  const filter = route.view === "log" && route.name !== "" ? { filter: `name:${route.name}` } : {};
  send({ type: "log", change: filter });
  send({ type: "set", change: { route, pointer: null, open: [], unread: "" } });
  openAskedAt = 0;
  if (hadToken) return void follow();
  openLog();
  void readSubject();
  if (route.view === "deploy") void refreshOperations();
  moveFocus = () => {
    const row = before.name === "" ? null : document.querySelector(`a[href="${hrefOf(before)}"]`);
    const target = wantsFilter ? document.getElementById("filter") : route.view === "overview" ? row : null;
    ((target ?? document.getElementById("main")) as HTMLElement | null)?.focus();
    if (target === null) scrollTo(0, 0);
    wantsFilter = false;
  };
});

/** The view that comes has a filter, which gets the focus. */
let wantsFilter = false;

const VIEW_KEYS: Readonly<Record<string, string>> = { o: "#/", l: "#/log", d: "#/deploy" };

addEventListener("keydown", (event) => {
  const { key, target } = event;
  const isField = target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
  if (event.ctrlKey || event.metaKey || event.altKey || state.dialog !== null) return;
  if (key === "Escape" && state.route.view !== "overview") {
    if (isField && target.value !== "") return;
    location.hash = state.route.view === "deploy" && state.route.name !== "" ? "#/deploy" : "#/";
    return;
  }
  if (isField) return;
  const does = keyAction(key);
  if (does === undefined) return;
  event.preventDefault();
  does();
});

function keyAction(key: string): (() => void) | undefined {
  const view = VIEW_KEYS[key];
  if (view !== undefined)
    return () => {
      location.hash = view;
    };
  switch (key) {
    case "?":
      return () => send({ type: "set", change: { dialog: { kind: "keys" } } });
    case "t":
      return changeTheme;
    case "z":
      return on.zoom;
    case "/":
      return () => {
        wantsFilter = state.route.view !== "log";
        if (wantsFilter) location.hash = "#/log";
        else document.getElementById("filter")?.focus();
      };
    case "!":
      return () => focusOn(document.querySelectorAll(".attention a"), 1);
    case "j":
    case "ArrowDown":
      return rowAction(key, 1);
    case "k":
    case "ArrowUp":
      return rowAction(key, -1);
    default:
      return undefined;
  }
}

/** Arrows scroll the page, unless a process has the focus. */
function rowAction(key: string, by: 1 | -1): (() => void) | undefined {
  const rows = document.querySelectorAll("tr.process a");
  const isOnRow = [...rows].includes(document.activeElement as Element);
  return rows.length > 0 && (key.length === 1 || isOnRow) ? () => focusOn(rows, by) : undefined;
}

function focusOn(elements: NodeListOf<Element>, by: 1 | -1): void {
  const at = [...elements].indexOf(document.activeElement as Element);
  const next = at < 0 ? (by > 0 ? 0 : elements.length - 1) : (at + by + elements.length) % elements.length;
  (elements[next] as HTMLElement | undefined)?.focus();
}

let hiding: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => {
      clearTimeout(retry);
      following.abort();
      closeLog();
    }, HIDDEN_MS);
  } else if (following.signal.aborted) void follow();
  else send({ type: "set", change: {} });
});

if (state.route.view === "log" && state.route.name !== "")
  send({ type: "log", change: { filter: `name:${state.route.name}` } });
send({ type: "set", change: {} });
void follow();
