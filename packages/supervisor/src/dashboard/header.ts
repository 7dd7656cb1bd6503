/** The first line: the fleet and its main totals. */
import type { Status } from "../control/api.js";
import { bar, milliseconds, shortDuration, size, thousands } from "./format.js";
import type { Model } from "./model.js";
import { clean, fitLine, type Line, lineWidth, segment, truncate, widthOf } from "./text.js";

const LONGEST_NAME = 24;
const BAR_WIDTH = 8;

/** One item of the header. Items with a higher number are omitted first if there is not enough space. */
interface Item {
  line: Line;
  drop: number;
  side: "left" | "right";
}

export function headerOf({ status, connection }: Pick<Model, "status" | "connection">, width: number): Line {
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
  const items: Item[] = [
    { line: [segment("paceline", "bold")], drop: 9, side: "left" },
    { line: [segment(truncate(clean(status.name), LONGEST_NAME), "bold")], drop: 1, side: "left" },
    { line: [segment(`up ${shortDuration(status.uptimeSeconds)}`)], drop: 7, side: "left" },
    { line: [segment(thousands(rate), "bold"), segment(" req/s")], drop: 0, side: "right" },
    { line: [segment(`p99 ${p99 < 0 ? "–" : inMilliseconds(p99)}`)], drop: 3, side: "right" },
    {
      line: [segment(`5xx ${thousands(status.errorsTotal)}`, status.errorsTotal > 0 ? "bad" : "plain")],
      drop: 2,
      side: "right",
    },
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
