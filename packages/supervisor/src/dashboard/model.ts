/** All that the dashboard knows, what can happen to it, and what it can ask for. */
import type { FleetEvent, LogLine, OperationResult, Status } from "../control/api.js";
import type { FIGURES } from "../core/figures.js";
import type { History } from "./history.js";

/** `started`: the fleet was started by this program, which then also ends it; `attached`: it runs without us. */
export type Ownership = "started" | "attached";

export type Connection =
  | { state: "connecting" }
  | { state: "up" }
  /** Since when, as Unix time in milliseconds. */
  | { state: "lost"; since: number };

/** What the keys do. */
export type Mode =
  | { kind: "normal" }
  | { kind: "help" }
  | { kind: "filter"; before: string }
  | { kind: "quit" }
  /** The fleet is being stopped; we leave when it is gone. */
  | { kind: "stopping" };

/** By which figure the rows are sorted, the highest first, beside `name`. */
export const SORT_FIGURES = {
  rate: "requestsPerSecond",
  memory: "rssBytes",
  cpu: "cpuPercent",
  latency: "latencyMs.p99",
  restarts: "restarts",
} as const satisfies Record<string, (typeof FIGURES)[number]["key"]>;

export type SortKey = "name" | keyof typeof SORT_FIGURES;

export const SORT_KEYS = ["name", ...Object.keys(SORT_FIGURES)] as readonly SortKey[];

/** Told in the bottom line. */
export interface Notice {
  text: string;
  tone: "info" | "good" | "bad";
  /** Unix time in milliseconds; null while what it tells goes on. */
  until: number | null;
}

/** An operation that was asked for and has not ended; only the newest of a target is told of. */
export interface Operation {
  id: number;
  label: string;
  /** What it works on. */
  target: string;
}

export interface Model {
  ownership: Ownership;
  connection: Connection;
  size: { width: number; height: number };
  /** The newest that came; the values of a lost supervisor stay to be seen. */
  status: Status | null;
  /** Of requests per second, by instance or balancer. */
  histories: ReadonlyMap<string, History>;
  /** How many samples were taken. */
  ticks: number;
  /** The name of a pool, an instance or a balancer. */
  selected: string | null;
  sort: SortKey;
  filter: string;
  mode: Mode;
  pane: "events" | "log";
  events: readonly FleetEvent[];
  /** The lines of `name`, which is what `followed` asks for. */
  log: { name: string | null; lines: readonly LogLine[]; loaded: boolean };
  notice: Notice | null;
  operations: readonly Operation[];
  nextOperation: number;
  /** The size asked for last, until the status shows it: the next + or − goes on from there. */
  scaling: { pool: string; wanted: number } | null;
}

/** A key by its name, such as `up`, `enter`, `escape`, `C-c`, or the character it types. */
export type Key = string;

/** Everything that happens; times are Unix time in milliseconds. */
export type Message =
  | { type: "status"; status: Status; at: number }
  | { type: "lost"; at: number }
  /** With `fresh` they replace those from before: the supervisor was connected to anew. */
  | { type: "events"; events: readonly FleetEvent[]; fresh: boolean }
  | { type: "log"; name: string; lines: readonly LogLine[]; fresh: boolean }
  | { type: "key"; key: Key; at: number }
  | { type: "resize"; width: number; height: number }
  | { type: "progress"; id: number; message: string }
  | { type: "result"; id: number; result: OperationResult; at: number };

/** What the program does for us. */
export type Effect =
  | { type: "operate"; id: number; path: string; body: object }
  /** End the fleet; once more: without grace. */
  | { type: "stop" }
  /** Leave; a fleet that was started here goes on running. */
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

/** Whose log is to be followed. */
export function followed(model: Model): string | null {
  return model.pane === "log" ? model.selected : null;
}
