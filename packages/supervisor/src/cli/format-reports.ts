/** Formats reports of deaths and the history of a fleet: one line each, or a single one with its steps on a screen. */
import type { LostRequest } from "@paceline/wire";
import { type DeathReport, howItDied } from "../core/deaths.js";
import { callerText, changeText, givenUpStart, type HistoryEntry } from "../core/history.js";
import { formatDuration, visible, visibleLine } from "../core/words.js";
import { shortDuration, sparkline } from "../dashboard/format.js";
import { summaryOf } from "../run-dir/report-files.js";
import { formatTable } from "./format-status.js";

const MB = 1e6;

/** Returns a line for each report, at most `width` wide. */
export function formatDeaths(reports: readonly DeathReport[], now: number, width: number): string {
  if (reports.length === 0) return "no process has died";
  const right = (text: string) => ({ text, align: "right" as const });
  const head = [right("ID"), "WHEN", "NAME", "HOW", right("LIVED"), right("LOST"), "LAST LINE"];
  const rows = reports
    .map(summaryOf)
    .map((each) => [
      right(`${each.id}`),
      `${shortDuration(Math.max(0, now - each.at) / 1000)} ago`,
      each.name,
      each.how,
      right(shortDuration(each.uptimeMs / 1000)),
      right(`${each.lost}`),
      each.lastLine,
    ]);
  return formatTable([head, ...rows])
    .map((line) => fit(line, width))
    .join("\n");
}

/** Returns the lines that fit on a screen of this size. */
export function formatDeath(report: DeathReport, { columns, rows }: { columns: number; rows: number }): string {
  const { process, pid, generation, uptimeMs, runtime, state, inFlight, requestsTotal, reason, stack, lastLines } =
    report;
  const facts = [
    `pid ${pid ?? "–"}`,
    `generation ${generation}`,
    ...(runtime === "" ? [] : [runtime]),
    `was ${state}`,
    `lived ${formatDuration(uptimeMs / 1000)}`,
    `${requestsTotal} requests, ${inFlight} in flight`,
  ];
  const head = [
    `death ${report.id}: ${process}, ${howItDied(report)}, ${new Date(report.at).toISOString()}`,
    `  ${facts.join(" · ")}`,
    ...wrap(reason, columns - 2).map((line) => `  ${line}`),
    ...charts(report, columns),
    ...section(requestsTitle(report), report.requests.map(requestLine), 5),
    ...section("stack, innermost first", stack, 8),
  ];
  const left = Math.max(3, rows - 1 - head.length - 1);
  const said = lastLines.slice(-left);
  const output = said.length === 0 ? [] : [`last lines${said.length < lastLines.length ? " (more: --json)" : ""}`];
  return [...head, ...output, ...said.map((line) => `  ${line}`)]
    .map((line) => fit(visibleLine(line), columns))
    .join("\n");
}

function requestsTitle({ requests, requestsOmitted, running }: DeathReport): string {
  const reassigned = requests.filter(({ outcome }) => outcome === "reassigned").length;
  const lost = requests.length - reassigned;
  const more = requestsOmitted === 0 ? "" : `, ${requestsOmitted} not listed`;
  const at = running === null ? "" : `it was running ${running}; `;
  return `${at}requests in flight: ${lost} lost, ${reassigned} sent to another instance${more}`;
}

function requestLine({ id, request, ageMs, state, outcome }: LostRequest): string {
  const known = { running: "running", started: "started", unknown: "", notStarted: "not started" }[state];
  const words = [known, outcome, id ?? ""].filter((word) => word !== "").join(", ");
  return `${(ageMs / 1000).toFixed(1).padStart(7)} s  ${request}  (${words})`;
}

/** Returns a title and the first lines of a list; an empty list if it has none. */
function section(title: string, lines: readonly string[], most: number): string[] {
  if (lines.length === 0) return [];
  const more = lines.length > most ? [`  and ${lines.length - most + 1} more: --json`] : [];
  return [title, ...lines.slice(0, most - more.length).map((line) => `  ${line}`), ...more];
}

function charts({ history }: DeathReport, columns: number): string[] {
  if (history === null || history.rssBytes.length === 0) return [];
  const minutes = formatDuration((history.rssBytes.length * history.everyMs) / 1000);
  const line = (title: string, values: readonly (number | null)[], digits: number) => {
    const known = values.filter((value) => value !== null);
    if (known.length === 0) return [];
    const most = Math.max(...known);
    const chart = sparkline(
      values.map((value) => value ?? 0),
      values.length,
      Math.min(60, Math.max(10, columns - 30)),
      most,
    );
    return [`  ${title.padEnd(7)}${chart} ${known.at(-1)?.toFixed(digits)}, max ${most.toFixed(digits)}`];
  };
  const megabytes = history.rssBytes.map((value) => (value === null ? null : value / MB));
  return [
    `last ${minutes}`,
    ...line("RSS MB", megabytes, 1),
    ...line("lag ms", history.eventLoopLagMs, 0),
    ...line("req/s", history.requestsPerSecond, 1),
  ];
}

function wrap(text: string, width: number): string[] {
  const all = visible(text).replaceAll("\n", " ");
  const lines: string[] = [];
  for (let at = 0; at < all.length && lines.length < 4; at += width) lines.push(all.slice(at, at + width));
  return lines;
}

function fit(line: string, width: number): string {
  return line.length <= width ? line : `${line.slice(0, Math.max(0, width - 1))}…`;
}

/** Returns a line for each entry, at most `width` wide. */
export function formatHistory(entries: readonly HistoryEntry[], now: number, width: number): string {
  if (entries.length === 0) return "the history is empty";
  const right = (text: string) => ({ text, align: "right" as const });
  const head = [right("ID"), "WHEN", "WHAT", "WHO", "RESULT", right("TOOK"), "CHANGED"];
  const rows = entries.map((entry) => [
    right(`${entry.id}`),
    `${shortDuration(Math.max(0, now - entry.at) / 1000)} ago`,
    whatOf(entry),
    givenUpStart(entry, entries) === undefined ? callerText(entry.by) : "failed start",
    entry.result,
    right(tookOf(entry)),
    entry.result === "done" ? entry.pools.map(changeText).join("; ") : entry.message.replace(/\n[\s\S]*/, ""),
  ]);
  return formatTable([head, ...rows])
    .map((line) => (line.length <= width ? line : `${line.slice(0, Math.max(0, width - 1))}…`))
    .join("\n");
}

export function formatEntry(entry: HistoryEntry): string {
  const { id, at, by, result, message, pools, steps, stepsOmitted } = entry;
  const from = [by.from === null ? [] : [`from ${by.from}`], by.job === null ? [] : [by.job]].flat();
  const took = entry.durationMs === null ? "" : ` after ${tookOf(entry)}`;
  const lines = [
    `${id}: ${whatOf(entry)}, ${new Date(at).toISOString()}`,
    `  by ${[callerText(by), ...from].join(", ")}`,
    `  ${result}${took}${message === "" ? "" : `: ${message.replaceAll("\n", "\n    ")}`}`,
    ...pools.map((pool) => `  ${changeText(pool)}`),
    ...(steps.length === 0 ? [] : ["steps"]),
    ...steps.map(({ afterMs, text }) => `  ${(afterMs / 1000).toFixed(1).padStart(7)} s  ${visibleLine(text)}`),
    ...(stepsOmitted === 0 ? [] : [`  ${stepsOmitted} steps in between are not kept`]),
  ];
  return lines.join("\n");
}

function whatOf({ command, target, detail }: HistoryEntry): string {
  return [command, target, detail].filter((word) => word !== null).join(" ");
}

function tookOf({ durationMs }: HistoryEntry): string {
  if (durationMs === null) return "–";
  return durationMs < 10_000 ? `${(durationMs / 1000).toFixed(1)} s` : formatDuration(durationMs / 1000);
}
