/** The page's state, and how each message changes it. Pure. */
import type { DeathDetails, FigureHistory, FleetEvent, LogLine, OpenRequestStatus, Status } from "../control/api.js";
import type { DeathReport } from "../core/deaths.js";
import type { HistoryEntry, HistorySummary } from "../core/history.js";
import { advance, full, MINUTES, NO_SERIES, SECONDS, type Series, type Zoom } from "./series.js";

export type View = "overview" | "instance" | "log" | "deploy" | "death";

/** A view, and the instance, death or pool that it shows. */
export interface Route {
  view: View;
  name: string;
}

/** `locked`: the token is missing or wrong. */
export type Link = { state: "connecting" | "live" } | { state: "lost" | "locked"; reason: string };

export interface Sort {
  /** The key of a figure, or `name`. */
  key: string;
  isReversed: boolean;
}

/** A question before an action that changes the fleet. */
export interface Question {
  title: string;
  text: string;
  /** The label of the button that runs the action. */
  action: string;
  isHarmful: boolean;
  path: string;
  body: object;
}

export type Dialog = { kind: "keys" } | { kind: "question"; question: Question };

interface LogState {
  lines: readonly LogLine[];
  filter: string;
  /** Levels that are hidden. */
  hidden: readonly Level[];
  isPaused: boolean;
}

export interface State {
  route: Route;
  link: Link;
  mayWrite: boolean;
  status: Status | null;
  /** The time of the status by the fleet's clock. */
  at: number;
  zoom: Zoom;
  seconds: Series;
  minutes: Series;
  events: readonly FleetEvent[];
  deaths: readonly DeathDetails[];
  /** The open report; null while it is not loaded. */
  death: DeathReport | null;
  /** The requests of the open process, oldest first. */
  open: readonly OpenRequestStatus[];
  operations: readonly HistorySummary[];
  operation: HistoryEntry | null;
  /** Why the report or the operation could not be read; empty while it may still be loading. */
  unread: string;
  log: LogState;
  sort: Sort;
  /** The position of the pointer on a chart, from 0 to 1. */
  pointer: number | null;
  dialog: Dialog | null;
  /** The message of an operation: its progress, or its result. */
  notice: { text: string; isBad: boolean } | null;
}

export const FIRST: State = {
  route: { view: "overview", name: "" },
  link: { state: "connecting" },
  mayWrite: false,
  status: null,
  at: 0,
  zoom: "seconds",
  seconds: NO_SERIES,
  minutes: { ...NO_SERIES, everyMs: 60_000, length: MINUTES },
  events: [],
  deaths: [],
  death: null,
  open: [],
  operations: [],
  operation: null,
  unread: "",
  log: { lines: [], filter: "", hidden: [], isPaused: false },
  sort: { key: "name", isReversed: false },
  pointer: null,
  dialog: null,
  notice: null,
};

export type Message =
  | { type: "hello"; mayWrite: boolean }
  | { type: "status"; at: number; status: Status; recent: FigureHistory | null }
  | { type: "events"; events: readonly FleetEvent[] }
  | { type: "history"; zoom: Zoom; history: FigureHistory }
  | { type: "logs"; lines: readonly LogLine[] }
  /** The lines arrive again from the beginning. */
  | { type: "logsOpened" }
  | { type: "log"; change: Partial<Omit<LogState, "lines">> }
  | { type: "set"; change: Change };

export type Change = Partial<Omit<State, "log">>;

const MAX_EVENTS = 400;
const MAX_LINES = 5000;

export function reduce(state: State, message: Message): State {
  switch (message.type) {
    case "hello":
      return { ...state, mayWrite: message.mayWrite, link: { state: "live" } };
    case "status": {
      const { at, status, recent } = message;
      const seconds = recent === null || state.seconds.now === 0 ? state.seconds : advance(state.seconds, recent);
      return { ...state, at, status, seconds };
    }
    case "events":
      return { ...state, events: newer(state.events, message.events, MAX_EVENTS) };
    case "history": {
      const isSeconds = message.zoom === "seconds";
      return { ...state, [message.zoom]: full(message.history, isSeconds ? SECONDS : MINUTES) };
    }
    case "logs":
      return { ...state, log: { ...state.log, lines: newer(state.log.lines, message.lines, MAX_LINES) } };
    case "logsOpened":
      return { ...state, log: { ...state.log, lines: [] } };
    case "log":
      return { ...state, log: { ...state.log, ...message.change } };
    case "set":
      return { ...state, ...message.change };
    default:
      return message satisfies never;
  }
}

/** Adds entries that are not known yet. A fleet that was started again counts from 1 again. */
function newer<Entry extends { sequence: number; at: number }>(
  known: readonly Entry[],
  more: readonly Entry[],
  most: number,
): readonly Entry[] {
  const last = known.at(-1);
  const [first] = more;
  if (last === undefined || first === undefined) return last === undefined ? more.slice(-most) : known;
  const isAnotherFleet = more.some(({ sequence, at }) => sequence <= last.sequence && at > last.at);
  const fresh = isAnotherFleet ? more : more.filter(({ sequence }) => sequence > last.sequence || sequence === 0);
  return [...(isAnotherFleet ? [] : known), ...fresh].slice(-most);
}

/** Returns the series that the charts show. */
export function shown({ zoom, seconds, minutes }: State): Series {
  return zoom === "seconds" ? seconds : minutes;
}

/** Parses `#/instance/web.3`; everything else is the overview. */
export function parseRoute(hash: string): Route {
  const [, view = "", name = ""] = hash.replace(/^#/, "").split("/");
  const known = (["instance", "log", "deploy", "death"] as const).find((each) => each === view);
  if (known === undefined || (name === "" && (known === "instance" || known === "death")))
    return { view: "overview", name: "" };
  try {
    return { view: known, name: decodeURIComponent(name) };
  } catch {
    return { view: "overview", name: "" };
  }
}

export function hrefOf({ view, name }: Route): string {
  if (view === "overview") return "#/";
  return name === "" ? `#/${view}` : `#/${view}/${encodeURIComponent(name)}`;
}

export type Level = "info" | "warn" | "error";
export const LEVELS: readonly Level[] = ["info", "warn", "error"];

const ERROR =
  /\b(error|fatal|panic|exception|traceback|critical)\b|\b[A-Z]\w*(Error|Exception)\b|"level":\s*(50|60)\b/i;
const WARN = /\bwarn(ing)?\b|"level":\s*40\b/i;

/** Returns the level of an event; for output, the level that the text suggests. */
export function levelOf({ level, text, lost }: Pick<LogLine, "level" | "text" | "lost">): Level {
  if (level !== undefined) return level;
  if (lost !== undefined) return "warn";
  // The level is at the beginning of a line.
  const start = text.slice(0, 200);
  return ERROR.test(start) ? "error" : WARN.test(start) ? "warn" : "info";
}

/** A test of a line, and why the filter is invalid. */
interface LineFilter {
  accepts(line: LogLine): boolean;
  problem: string | null;
}

/**
 * Parses a filter: words that a line must contain, `-word` that it must not contain, `/expression/`, and `name:web.3` or `name:web`.
 * Ignores case.
 */
export function parseFilter(text: string): LineFilter {
  const tests: ((line: LogLine) => boolean)[] = [];
  let problem: string | null = null;
  for (const part of text.match(/-?\/(?:[^/\\]|\\.)+\/|\S+/g) ?? []) {
    const isNot = part.length > 1 && part.startsWith("-");
    const word = isNot ? part.slice(1) : part;
    const test = testOf(word);
    if (typeof test === "string") problem = test;
    else tests.push((line) => test(line) !== isNot);
  }
  return { accepts: (line) => tests.every((test) => test(line)), problem };
}

function testOf(word: string): ((line: LogLine) => boolean) | string {
  const [, expression] = /^\/(.+)\/$/.exec(word) ?? [];
  if (expression !== undefined) {
    try {
      const pattern = new RegExp(expression, "i");
      return ({ text }) => pattern.test(text);
    } catch {
      return `${word} is no regular expression`;
    }
  }
  const [, name] = /^name:(.+)$/i.exec(word) ?? [];
  if (name !== undefined)
    return (line) => [line.name, line.subject].some((each) => each === name || each?.startsWith(`${name}.`) === true);
  const wanted = word.toLowerCase();
  return ({ name: of, text }) => text.toLowerCase().includes(wanted) || of.toLowerCase().includes(wanted);
}

/** Returns the lines that match the filter and the levels, and the number of lines of each level. */
export function filtered({ lines, filter, hidden }: LogState): {
  lines: LogLine[];
  counts: Record<Level, number>;
  problem: string | null;
} {
  const { accepts, problem } = parseFilter(filter);
  const counts: Record<Level, number> = { info: 0, warn: 0, error: 0 };
  const left = lines.filter((line) => {
    if (!accepts(line)) return false;
    const level = levelOf(line);
    counts[level]++;
    return !hidden.includes(level);
  });
  return { lines: left, counts, problem };
}
