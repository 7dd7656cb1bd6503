/** Lays out the screen: header, table, pane, last line, help. Pure: returns styled lines, never wider than the screen. */

import type { Status } from "../control/api.js";
import { bar, milliseconds, shortDuration, size, thousands } from "./format.js";
import { SORT_WORDS } from "./keys.js";
import type { Model, Notice, Ownership } from "./model.js";
import { paneLines, paneTitle } from "./pane.js";
import { padLine, type Table, tableOf } from "./table.js";
import { clean, fitLine, type Line, lineWidth, type Style, segment, spread, truncate, widthOf } from "./text.js";

/** The pane's minimum height including its title, if the screen is high enough. */
const LEAST_PANE = 5;
const LEAST_TABLE = 4;

/** Returns exactly as many lines as the screen has, each of its width. */
export function view(model: Model): Line[] {
  const { width, height } = model.size;
  const lines = [headerOf(model, width)];
  if (height > 2) lines.push(...middle(model, width, height - 2));
  if (height > 1) lines.push(bottomLine(model, width));
  return lines.slice(0, height).map((line) => padLine(line, width));
}

/** Returns the header and the whole table, for output without a selection. */
export function plainView(model: Model, width: number): Line[] {
  const table = tableOf({ ...model, selected: null }, width);
  return [headerOf(model, width), table.head, ...table.rows];
}

function middle(model: Model, width: number, height: number): Line[] {
  if (model.mode.kind === "help") return fill(helpLines(model.ownership, width), height);
  const table = tableOf(model, width);
  const paneHeight = height >= LEAST_TABLE + LEAST_PANE ? Math.max(LEAST_PANE, height - table.rows.length - 1) : 0;
  const tableHeight = height - paneHeight;
  const { lines, position } = scrolled(table, model, tableHeight, width);
  if (paneHeight === 0) return lines;
  const content = paneLines(model, width, paneHeight - 1);
  return [...lines, paneTitle(model, position, width), ...fill(content, paneHeight - 1)];
}

/** Returns the part of the table around the selected row. */
function scrolled(table: Table, model: Model, height: number, width: number): { lines: Line[]; position: string } {
  const room = height - 1;
  if (table.rows.length === 0) {
    const text = model.status === null ? "" : model.filter === "" ? " no pool" : ` nothing matches ${model.filter}`;
    return { lines: fill([table.head, fitLine([segment(text, "dim")], width)], height), position: "" };
  }
  const most = Math.max(0, table.rows.length - room);
  const first = Math.min(Math.max(0, table.selected - Math.floor(room / 2)), most);
  const shown = table.rows.slice(first, first + room);
  const position = most === 0 ? "" : `${first + 1}–${first + shown.length} of ${table.rows.length}`;
  return { lines: fill([table.head, ...shown], height), position };
}

/** Cuts or pads to exactly `height` lines. */
function fill(lines: readonly Line[], height: number): Line[] {
  return Array.from({ length: height }, (_, at) => lines[at] ?? []);
}

function helpLines(ownership: Ownership, width: number): Line[] {
  const quit = ownership === "started" ? "leave; asks whether to stop the fleet" : "leave; the fleet keeps running";
  const interrupt =
    ownership === "started" ? "stop the fleet and leave; twice: at once" : "leave; the fleet keeps running";
  const keys: [string, string][] = [
    ["↑ ↓  j k", "select; PgUp PgDn g G for more"],
    ["+ −", "one instance more or fewer in the selected pool"],
    ["r", "reload: new config, env files and code; maxSurge at a time"],
    ["R", "restart the selected instance, pool or balancer"],
    ["l", "log of what is selected, or the events"],
    ["s", "sort by name, requests, memory, CPU, p99, restarts"],
    ["/", "show only names or states that have this; Esc shows all"],
    ["q", quit],
    ["Ctrl-C", interrupt],
    ["Ctrl-L", "draw the screen anew"],
  ];
  const words: [string, string][] = [
    ["FLIGHT", "requests in flight"],
    ["P50 P99", "milliseconds that half and 99 % of the responses took, last 10 s"],
    ["5xx", "balancer responses with status 500 and above"],
    ["DEFERRED", "unfinished deferred jobs, and the age of the oldest"],
    ["RSS PSS", "memory; PSS counts a shared page once"],
  ];
  return [
    [],
    ...keys.map(([key, meaning]) => [segment(`  ${key.padEnd(10)}`, "accent"), segment(meaning)]),
    [],
    ...words.map(([word, meaning]) => [segment(`  ${word.padEnd(10)}`, "bold"), segment(meaning)]),
  ].map((line) => fitLine(line, width));
}

const TONE: Record<Notice["tone"], { style: Style; mark: string }> = {
  info: { style: "plain", mark: "·" },
  good: { style: "good", mark: "✓" },
  bad: { style: "bad", mark: "✗" },
};

const HINTS = ["? help", "+ − scale", "r reload", "R restart", "l log", "s sort", "/ filter", "q quit"];

function bottomLine(model: Model, width: number): Line {
  return fitLine(contents(model, width), width);
}

function contents(model: Model, width: number): Line {
  const { mode, notice, ownership } = model;
  switch (mode.kind) {
    case "quit": {
      const name = clean(model.status?.name ?? "the fleet");
      const long = ` Stop ${name}?  y stop it and wait   n leave it running   Esc go back `;
      return [segment(widthOf(long) <= width ? long : " Stop? y / n / Esc ", "alarm")];
    }
    case "stopping": {
      const long = " stopping: finishing the requests in flight · Ctrl-C again ends it at once ";
      return [segment(widthOf(long) <= width ? long : " stopping … ", "alarm")];
    }
    case "filter":
      return [segment(" /", "accent"), segment(model.filter), segment("█", "accent"), segment("  Enter Esc", "dim")];
    case "help":
      return [segment(" any key goes back", "dim")];
    case "normal": {
      // A failure stays visible until it is resolved.
      const failure = model.status?.watch?.failure ?? null;
      const shown = notice ?? (failure === null ? null : { text: failure, tone: "bad" as const });
      if (shown !== null) {
        const { style, mark } = TONE[shown.tone];
        const message = [segment(` ${mark} ${clean(shown.text)}`, style)];
        return spread(message, [segment(hints(ownership, width), "dim")], width);
      }
      return [...stateOf(model), segment(` ${hints(ownership, width)}`, "dim")];
    }
    default:
      return mode satisfies never;
  }
}

/** Describes the filter and the sort order if they differ from the default. */
function stateOf({ filter, sort }: Model): Line {
  const parts = [filter === "" ? "" : `/${filter}`, sort === "name" ? "" : `by ${SORT_WORDS[sort]}`];
  const text = parts.filter(Boolean).join(" ");
  return text === "" ? [] : [segment(` ${text} `, "accent")];
}

function hints(ownership: Model["ownership"], width: number): string {
  const shown = ownership === "started" ? [...HINTS, "Ctrl-C stop"] : [...HINTS];
  const fits = () => widthOf(shown.join("  ")) < width;
  if (ownership === "started" && !fits()) shown.pop();
  // The keys for help and quit are omitted last.
  while (shown.length > 2 && !fits()) shown.splice(-2, 1);
  return shown.join("  ");
}

const LONGEST_NAME = 24;
const BAR_WIDTH = 8;

/** One item of the header. Items with a higher number are omitted first if there is not enough space. */
interface Item {
  line: Line;
  drop: number;
  side: "left" | "right";
}

/** The first line: the fleet and its main totals. */
function headerOf({ status, connection }: Pick<Model, "status" | "connection">, width: number): Line {
  if (connection.state === "lost") return lostLine(status, connection.since, width);
  if (status === null) return fitLine([segment(" paceline", "bold"), segment(" · connecting …")], width);
  let items = itemsOf(status);
  for (;;) {
    const left = join(items, "left", " · ");
    const right = join(items, "right", "  ");
    const space = width - 1 - lineWidth(left) - lineWidth(right);
    if (space >= 2 || items.length === 1) {
      return fitLine([segment(" "), ...left, segment(" ".repeat(Math.max(0, space - 1))), ...right], width);
    }
    const first = Math.max(...items.map(({ drop }) => drop));
    items = items.filter(({ drop }) => drop !== first);
  }
}

function itemsOf(status: Status): Item[] {
  const processes = [...status.balancers, ...status.pools.flatMap((pool) => pool.instances)];
  const rate = status.balancers.reduce((sum, each) => sum + each.requestsPerSecond, 0);
  const p99 = status.balancers.reduce((most, each) => Math.max(most, each.latencyMs.p99 ?? -1), -1);
  const troubled = processes.filter(
    ({ state, stalledMs }) => state === "backoff" || state === "failed" || stalledMs !== null,
  ).length;
  const rollout = status.pools.find((pool) => pool.rollout !== null)?.rollout;
  const requests: Item[] = [
    { line: [segment(thousands(rate), "bold"), segment(" req/s")], drop: 0, side: "right" },
    { line: [segment(`p99 ${p99 < 0 ? "–" : inMilliseconds(p99)}`)], drop: 3, side: "right" },
    {
      line: [segment(`5xx ${thousands(status.errorsTotal)}`, status.errorsTotal > 0 ? "bad" : "plain")],
      drop: 2,
      side: "right",
    },
  ];
  const items: Item[] = [
    { line: [segment("paceline", "bold")], drop: 9, side: "left" },
    { line: [segment(truncate(clean(status.name), LONGEST_NAME), "bold")], drop: 1, side: "left" },
    { line: [segment(`up ${shortDuration(status.uptimeSeconds)}`)], drop: 7, side: "left" },
    // A fleet that does not listen gets no requests.
    ...(status.listen.length === 0 ? [] : requests),
    { line: [segment(`RSS ${size(status.rssBytes)}`)], drop: 5, side: "right" },
  ];
  if (status.pssBytes !== null) items.push({ line: [segment(`PSS ${size(status.pssBytes)}`)], drop: 4, side: "right" });
  if (status.watch !== null) items.push({ line: [segment("watching")], drop: 8.5, side: "left" });
  if (status.state !== "running") items.push({ line: [segment(status.state, "busy")], drop: 1.5, side: "left" });
  if (troubled > 0) items.push({ line: [segment(`${troubled} in trouble`, "bad")], drop: 2.5, side: "left" });
  if (rollout != null) {
    const { kind, done, total } = rollout;
    const line = [segment(`${kind} ${done}/${total} ${bar(done, total, BAR_WIDTH)}`, "busy")];
    items.push({ line, drop: 8, side: "right" });
  }
  return items;
}

/** Returns `1.8 ms` or `1.2 s`. */
function inMilliseconds(ms: number): string {
  const text = milliseconds(ms);
  return text.endsWith("s") ? `${text.slice(0, -1)} s` : `${text} ms`;
}

function join(items: readonly Item[], side: Item["side"], separator: string): Line {
  return items
    .filter((item) => item.side === side)
    .flatMap(({ line }, at) => (at === 0 ? line : [segment(separator, "dim"), ...line]));
}

function lostLine(status: Status | null, since: number, width: number): Line {
  const name = status === null ? "paceline" : truncate(clean(status.name), LONGEST_NAME);
  const date = new Date(since);
  const at = date.toTimeString().slice(0, 8);
  const texts = [
    ` ${name} · connection lost at ${at}, reconnecting `,
    " connection lost, reconnecting ",
    " connection lost ",
    " lost",
  ];
  const text = texts.find((each) => widthOf(each) <= width) ?? "";
  return fitLine([segment(text, "alarm")], width);
}
