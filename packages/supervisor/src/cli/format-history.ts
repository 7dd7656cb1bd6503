/** Formats the history of a fleet: a line for each operation, or one with its steps. */
import { callerText, changeText, givenUpStart, type HistoryEntry } from "../core/history.js";
import { formatDuration, visibleLine } from "../core/words.js";
import { shortDuration } from "../dashboard/format.js";
import { formatTable } from "./format-status.js";

/** Returns a line for each entry, not wider than `width`. */
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
