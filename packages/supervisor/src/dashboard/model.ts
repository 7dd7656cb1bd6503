/** The dashboard's model, its messages and its effects. */
import type {
  DeathDetails,
  FigureHistory,
  FleetEvent,
  LogLine,
  OpenRequestStatus,
  OperationResult,
  Status,
} from "../control/api.js";
import type { Glyphs } from "./chart.js";
import { FIRST_ZOOM, type FigureRecord, type Zoom } from "./history.js";

/** `started`: this program has started the fleet and will stop it; `attached`: the fleet runs independently. */
export type Ownership = "started" | "attached";

type Connection =
  | { state: "connecting" }
  | { state: "up" }
  /** The start of the loss, as Unix time in milliseconds. */
  | { state: "lost"; since: number };

/** What is on the screen. */
export type View = "overview" | "detail" | "log" | "deaths" | "canary" | "help";

/** The current meaning of keys. */
export type Mode =
  | { kind: "normal" }
  /** A text is being typed; Esc restores `before`. */
  | { kind: "filter" | "search"; before: string }
  | { kind: "command"; text: string; at: number }
  /** An operation waits for `y`. */
  | {
      kind: "question";
      text: string;
      operation: Operation["request"];
      label: string;
      target: string;
      scaling?: Scaling;
    }
  | { kind: "quit" }
  /** The fleet is stopping; the dashboard ends with it. */
  | { kind: "stopping" };

/** The column by which rows are sorted; `name` is the order of the configuration. */
export interface Sort {
  key: string;
  /** Whether the lowest comes first. */
  reversed: boolean;
}

/** A message in the bottom line. */
export interface Notice {
  text: string;
  tone: "info" | "good" | "bad";
  /** When the notice disappears, as Unix time in milliseconds; null: not by itself. */
  until: number | null;
}

/** A requested operation that has not ended. Only the newest one for each target is shown. */
export interface Operation {
  id: number;
  label: string;
  /** The name of its target. */
  target: string;
  request: { path: string; body: object };
}

interface Scaling {
  pool: string;
  wanted: number;
}

/** The visible part of a log. */
export interface LogView {
  /** Null: the log of all. */
  name: string | null;
  lines: readonly LogLine[];
  loaded: boolean;
  /** Lines of a lower level are not shown. The second one is the level with which the log was opened. */
  level: "all" | "warn" | "error";
  opened: LogView["level"];
  search: string;
  follows: boolean;
  wraps: boolean;
  /** The number of lines below the lowest visible one. */
  scrolled: number;
}

export interface Model {
  ownership: Ownership;
  connection: Connection;
  size: { width: number; height: number };
  glyphs: Glyphs;
  /** The newest status, and when it arrived. If the supervisor is lost, its last values stay visible. */
  status: Status | null;
  at: number;
  history: { seconds: FigureRecord | null; minutes: FigureRecord | null };
  zoom: number;
  view: View;
  /** The page of the help, from 0, and the view to which it returns. */
  helpPage: number;
  helpFrom: View;
  /** The name of a pool, an instance or a balancer. */
  selected: string | null;
  sort: Sort;
  filter: string;
  mode: Mode;
  /** When the last key was pressed, or text was pasted. */
  pressedAt: number;
  events: readonly FleetEvent[];
  log: LogView;
  /** The requests that `name` has not finished. */
  open: { name: string | null; requests: readonly OpenRequestStatus[] };
  deaths: { list: readonly DeathDetails[]; selected: number; loaded: boolean };
  notice: Notice | null;
  operations: readonly Operation[];
  nextOperation: number;
  /** The last requested size, until the status shows it; further + and − start from it. */
  scaling: Scaling | null;
  /** The frozen values while the dashboard is paused, until Space is pressed again. */
  paused: Pick<Model, "status" | "at" | "history" | "events" | "deaths" | "connection"> | null;
  mouse: boolean;
  /** The commands that were typed, newest last. */
  typed: readonly string[];
}

/** A key by its name, for example `up`, `enter`, `escape`, `C-c`, or the character that it types. */
export type Key = string;

export interface MousePress {
  kind: "press" | "wheelup" | "wheeldown";
  /** From 0 at the upper left corner. */
  x: number;
  y: number;
}

/** Everything that can happen. Times are Unix times in milliseconds. */
export type Message =
  | { type: "status"; status: Status; at: number }
  | { type: "lost"; at: number }
  | { type: "history"; zoom: Zoom["from"]; history: FigureHistory }
  /** With `fresh`, the events replace earlier ones, because the connection is new. */
  | { type: "events"; events: readonly FleetEvent[]; fresh: boolean }
  | { type: "log"; name: string | null; lines: readonly LogLine[]; fresh: boolean }
  | { type: "open"; name: string; requests: readonly OpenRequestStatus[] }
  | { type: "deaths"; deaths: readonly DeathDetails[] }
  | { type: "key"; key: Key; at: number }
  | { type: "pasted"; text: string; at: number }
  | ({ type: "mouse"; at: number } & MousePress)
  | { type: "resize"; width: number; height: number }
  | { type: "progress"; id: number; message: string }
  | { type: "result"; id: number; result: OperationResult; at: number };

/** The effects that the program carries out. */
export type Effect =
  | { type: "operate"; id: number; path: string; body: object }
  | { type: "loadDeaths" }
  /** Puts text into the clipboard of the terminal. */
  | { type: "copy"; text: string }
  | { type: "mouse"; on: boolean }
  /** Stops the fleet; at the second time, without waiting. */
  | { type: "stop" }
  /** Leaves the dashboard. A fleet that the dashboard has started keeps running. */
  | { type: "quit" };

export interface Step {
  model: Model;
  effects: Effect[];
}

export function initialModel(ownership: Ownership, size: Model["size"], glyphs: Glyphs = "braille"): Model {
  return {
    ...{ ownership, size, glyphs },
    connection: { state: "connecting" },
    status: null,
    at: 0,
    history: { seconds: null, minutes: null },
    zoom: FIRST_ZOOM,
    view: "overview",
    ...{ helpPage: 0, helpFrom: "overview" },
    selected: null,
    sort: { key: "name", reversed: false },
    filter: "",
    mode: { kind: "normal" },
    pressedAt: Number.NEGATIVE_INFINITY,
    events: [],
    log: {
      ...{ name: null, lines: [], loaded: false, level: "all", opened: "all", search: "" },
      ...{ follows: true, wraps: false, scrolled: 0 },
    },
    open: { name: null, requests: [] },
    deaths: { list: [], selected: 0, loaded: false },
    notice: null,
    operations: [],
    nextOperation: 1,
    scaling: null,
    paused: null,
    mouse: false,
    typed: [],
  };
}

/** From this width on, the log of the selected row is shown beside the overview. */
export const WIDE = 190;

/** Returns the name whose open requests are shown; undefined if none are. */
export function watched({ view, selected, size }: Model): string | undefined {
  const isBeside = view === "overview" && size.width >= WIDE;
  return view === "detail" || isBeside ? (selected ?? undefined) : undefined;
}

/** Returns the name whose log is followed; null for the log of all, undefined for none. */
export function followed(model: Model): string | null | undefined {
  return model.view === "log" ? model.log.name : watched(model);
}
