/** The dashboard's model, its messages and its effects. */
import type { FleetEvent, LogLine, OperationResult, Status } from "../control/api.js";
import type { FIGURES } from "../core/figures.js";
import type { History } from "./format.js";

/** `started`: this program started the fleet and will stop it; `attached`: the fleet runs on its own. */
export type Ownership = "started" | "attached";

type Connection =
  | { state: "connecting" }
  | { state: "up" }
  /** Since when, as Unix time in milliseconds. */
  | { state: "lost"; since: number };

/** The mode of the keyboard. */
export type Mode =
  | { kind: "normal" }
  | { kind: "help" }
  | { kind: "filter"; before: string }
  | { kind: "quit" }
  /** The fleet is stopping; the dashboard ends with it. */
  | { kind: "stopping" };

/** The figures, beside `name`, that rows can be sorted by, the highest value first. */
export const SORT_FIGURES = {
  rate: "requestsPerSecond",
  memory: "rssBytes",
  cpu: "cpuPercent",
  latency: "latencyMs.p99",
  restarts: "restarts",
} as const satisfies Record<string, (typeof FIGURES)[number]["key"]>;

export type SortKey = "name" | keyof typeof SORT_FIGURES;

export const SORT_KEYS = ["name", ...Object.keys(SORT_FIGURES)] as readonly SortKey[];

/** A message in the bottom line. */
export interface Notice {
  text: string;
  tone: "info" | "good" | "bad";
  /** Unix time in milliseconds; null while the notice stays valid. */
  until: number | null;
}

/** A requested operation that has not ended; only the newest of each target is shown. */
export interface Operation {
  id: number;
  label: string;
  /** The name it applies to. */
  target: string;
}

export interface Model {
  ownership: Ownership;
  connection: Connection;
  size: { width: number; height: number };
  /** The newest status. If the supervisor is lost, its last values stay visible. */
  status: Status | null;
  /** Requests per second, by instance or balancer. */
  histories: ReadonlyMap<string, History>;
  /** The number of samples taken. */
  ticks: number;
  /** The name of a pool, an instance or a balancer. */
  selected: string | null;
  sort: SortKey;
  filter: string;
  mode: Mode;
  pane: "events" | "log";
  events: readonly FleetEvent[];
  /** The lines of `name`; see `followed`. */
  log: { name: string | null; lines: readonly LogLine[]; loaded: boolean };
  notice: Notice | null;
  operations: readonly Operation[];
  nextOperation: number;
  /** The last requested size, until the status shows it; further + and − build on it. */
  scaling: { pool: string; wanted: number } | null;
}

/** A key by its name, such as `up`, `enter`, `escape`, `C-c`, or the character it types. */
export type Key = string;

/** Everything that can happen; times are Unix time in milliseconds. */
export type Message =
  | { type: "status"; status: Status; at: number }
  | { type: "lost"; at: number }
  /** With `fresh` they replace earlier ones, because the connection is new. */
  | { type: "events"; events: readonly FleetEvent[]; fresh: boolean }
  | { type: "log"; name: string; lines: readonly LogLine[]; fresh: boolean }
  | { type: "key"; key: Key; at: number }
  | { type: "resize"; width: number; height: number }
  | { type: "progress"; id: number; message: string }
  | { type: "result"; id: number; result: OperationResult; at: number };

/** What the program carries out. */
export type Effect =
  | { type: "operate"; id: number; path: string; body: object }
  /** Stop the fleet; the second time at once. */
  | { type: "stop" }
  /** Leave; a fleet that was started here keeps running. */
  | { type: "quit" };

export interface Step {
  model: Model;
  effects: Effect[];
}

export function initialModel(ownership: Ownership, size: Model["size"]): Model {
  return {
    ownership,
    connection: { state: "connecting" },
    size,
    status: null,
    histories: new Map(),
    ticks: 0,
    selected: null,
    sort: "name",
    filter: "",
    mode: { kind: "normal" },
    pane: "events",
    events: [],
    log: { name: null, lines: [], loaded: false },
    notice: null,
    operations: [],
    nextOperation: 1,
    scaling: null,
  };
}

/** Returns the name whose log is followed. */
export function followed(model: Model): string | null {
  return model.pane === "log" ? model.selected : null;
}
