/** Reads docs/architecture.md and the code, for the test that compares them. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import {
  EVENTS,
  type Process,
  type ProcessEvent,
  type SlotPolicy,
  STATES,
} from "../../packages/supervisor/dist/core/process.js";
import { transition } from "../../packages/supervisor/dist/core/transition.js";
import { ROOT } from "./fleet.js";

/** The results of events: the possible next states in the order of STATES, or `·` for no effect. */
export type StateTable = Record<string, Record<string, string>>;

const NOW = 1_000_000;
const NOTHING = "·";

const POLICY: SlotPolicy = {
  readyTimeoutMs: 1,
  stableAfterMs: 1,
  drainTimeoutMs: 1,
  termTimeoutMs: 1,
  killTimeoutMs: 1,
  hangAfterMs: 1,
  minReadyMs: 1,
  maxSurge: 1,
  backoff: { initialMs: 1, maxMs: 1, factor: 1, jitter: 0 },
  restartBudget: { maxFailures: 2, periodMs: 1_000 },
  giveUp: true,
  isUpstream: true,
};

/** Returns every relevant process in a state: both goals, both steps and causes, with and without a budget. */
function variants(state: (typeof STATES)[number]): Process[] {
  const all: Process[] = [];
  for (const goal of ["up", "down"] as const) {
    for (const failuresAt of [[], [NOW - 1, NOW - 1]]) {
      // A ready process has served; others may have served.
      const common = {
        goal,
        attempt: 1,
        nextAttempt: 2,
        failuresAt,
        failures: failuresAt.length,
        hasServed: state === "ready",
      };
      const deadline = NOW;
      switch (state) {
        case "draining":
          all.push({ ...common, state, step: "leave", drainBy: deadline + 1, drainTime: "1 s", deadline });
          for (const step of ["drain", "released"] as const)
            all.push({ ...common, state, step, drainTime: "1 s", deadline });
          all.push({ ...common, state, step: "term", deadline });
          break;
        case "killing":
          for (const cause of ["slow", "failing"] as const) all.push({ ...common, state, cause, deadline });
          break;
        case "stopped":
        case "failed":
          all.push({ ...common, state });
          break;
        default:
          all.push({ ...common, state, deadline });
      }
    }
  }
  return all;
}

function eventOf(type: (typeof EVENTS)[number]): ProcessEvent {
  switch (type) {
    case "start":
    case "stop":
    case "restart":
    case "unpark":
      return { type };
    case "park":
      return { type, keepMs: 1000 };
    case "exited":
      return { type, attempt: 1, status: { code: 1, signal: null } };
    case "spawnFailed":
      return { type, attempt: 1, reason: "no such file" };
    case "hung":
    case "overrun":
      return { type, attempt: 1, reason: "hung" };
    default:
      return { type, attempt: 1 };
  }
}

/** Returns the code's table: rows are events, columns are states. */
export function tableOfCode(): StateTable {
  const table: StateTable = {};
  for (const event of EVENTS) {
    const row: Record<string, string> = {};
    for (const state of STATES) {
      const reached = new Set<string>();
      for (const process of variants(state)) {
        const next = transition(process, eventOf(event), POLICY, NOW, 0);
        if (next.process !== process || next.effects.length > 0) reached.add(next.process.state);
      }
      row[state] = STATES.filter((each) => reached.has(each)).join(" or ") || NOTHING;
    }
    table[event] = row;
  }
  return table;
}

/** Returns the table in docs/architecture.md: the first one whose head begins with `event`. */
export function tableOfPage(): StateTable {
  const lines = readFileSync(join(ROOT, "docs/architecture.md"), "utf8").split("\n");
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("`", ""));
  const start = lines.findIndex((line) => /^\| *event *\|/.test(line));
  if (start < 0) return {};
  const [, ...states] = cells(lines[start] ?? "");
  const table: StateTable = {};
  for (const line of lines.slice(start + 2)) {
    if (!line.startsWith("|")) break;
    const [event = "", ...reached] = cells(line);
    table[event] = Object.fromEntries(states.map((state, index) => [state, reached[index] ?? ""]));
  }
  return table;
}

/** A part of the supervisor as docs/architecture.md describes it: a folder, or files outside the folders. */
interface Room {
  names: string[];
  imports: string[];
}

/** Returns the table in docs/architecture.md of the supervisor's parts. */
export function roomsOfPage(): Room[] {
  const page = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
  const [, rows = ""] = page.split(/^\| room \| imports \|\n\|---\|---\|\n/m);
  const rooms: Room[] = [];
  for (const line of rows.split("\n")) {
    const [, room, imports] = line.split("|");
    const namesIn = (cell = "") => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
    const names = namesIn(room);
    if (names.length === 0) break;
    rooms.push({ names, imports: namesIn(imports).sort() });
  }
  return rooms;
}

/** One import in the sources: its file and its target. */
export interface Import {
  from: string;
  to: string;
  /** Whether only types are imported. Dynamic imports count as code. */
  isType?: boolean;
}

/** Returns every import in the sources of a folder, without tests; relative ones are resolved to repository paths. */
export function importsBelow(folder: string): Import[] {
  const found: Import[] = [];
  for (const name of readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })) {
    if (!/\.ts$/.test(name) || /\.test\.ts$/.test(name)) continue;
    const path = join(ROOT, folder, name);
    const source = readFileSync(path, "utf8");
    for (const match of source.matchAll(/(?:^|\s|\()(?:from|import)\s*\(?\s*["']([^"']+)["']/g)) {
      const to = match[1] ?? "";
      const from = relative(ROOT, path);
      found.push({
        from,
        to: to.startsWith(".") ? relative(ROOT, join(path, "..", to)) : to,
        isType: !match[0].includes("import") && takesTypes(source.slice(0, match.index)),
      });
    }
  }
  return found;
}

/** Whether the statement at the end of this text, up to its `from`, is about types alone. */
function takesTypes(text: string): boolean {
  const begin = Math.max(0, ...["import", "export"].map((word) => text.lastIndexOf(`\n${word} `) + 1));
  return /^\w+ (?:type\b|\{(?:\s*type \w+(?: as \w+)?,?)+\s*\}$)/.test(text.slice(begin));
}

/** Returns the folders of the balancer in their order in docs/architecture.md. */
export function foldersOfPage(): string[] {
  const page = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
  const [, list = ""] = /^Inside `packages\/balancer\/src` [^:]*: ([^.]*)\./m.exec(page) ?? [];
  return [...list.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
}

/** Returns the groups of files that import each other in a cycle, sorted. */
export function circlesIn(imports: readonly Import[]): string[][] {
  const to = new Map<string, string[]>();
  for (const { from, to: target } of imports) {
    const file = target.replace(/\.js$/, ".ts");
    to.set(from, [...(to.get(from) ?? []), file]);
  }
  const reached = new Map([...to.keys()].map((file) => [file, reachedFrom(file, to)]));
  const groups = new Map<string, string[]>();
  for (const [file, others] of reached) {
    if (!others.has(file)) continue;
    const group = [...others].filter((other) => reached.get(other)?.has(file)).sort();
    groups.set(group.join(" "), group);
  }
  return [...groups.keys()].sort().map((key) => groups.get(key) ?? []);
}

/** Returns everything that a file imports, directly or indirectly; includes the file itself in a cycle. */
function reachedFrom(file: string, to: ReadonlyMap<string, readonly string[]>): Set<string> {
  const found = new Set<string>();
  const open = [...(to.get(file) ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (found.has(next) || !to.has(next)) continue;
    found.add(next);
    open.push(...(to.get(next) ?? []));
  }
  return found;
}
