/** Judges the results of a row, and prints the table. */
import { MOST_MB } from "./row.mjs";

/** Returns a round's line of the table. `known` names limits from docs/security.md. */
export function lineOf(name, found, known = {}) {
  const grown = Object.entries(found.grown).sort((a, b) => b[1] - a[1]);
  const cells = {
    memory: cell(grown[0][1] < MOST_MB, grown.slice(0, 2).map(describe(found)).join(", "), known.memory),
    descriptors: cell(found.leftOpen.length === 0, found.leftOpen.join(", ") || "closed", known.descriptors),
    p99: cell(found.isQuick, [found.p99, found.failed].filter(Boolean).join(", ")),
  };
  const others = `${(100 * found.others).toFixed(0)} %`;
  return { name, cells, others, isRed: Object.values(cells).some(({ state }) => state === "RED") };
}

/** Returns the line of a row that failed to run. */
export function lineOfFailure(name, error) {
  const none = { state: "ok", text: "" };
  return { name, cells: { memory: cell(false, error.message), descriptors: none, p99: none }, others: "", isRed: true };
}

function describe({ before, courses }) {
  return ([process, mb]) =>
    mb === Number.POSITIVE_INFINITY
      ? `${process} DIED`
      : `${process} ${mb < 0 ? "" : "+"}${mb.toFixed(1)} (${before[process].toFixed(0)}: ${courses[process]})`;
}

function cell(holds, text, known) {
  if (holds) return { state: "ok", text };
  return known === undefined ? { state: "RED", text } : { state: "known", text: `${text}: ${known}` };
}

export function textOf({ name, cells, others, isRed }) {
  const told = Object.entries(cells).map(([what, { state, text }]) => `${what} ${state}: ${text}`);
  return `${isRed ? "RED" : "ok "} ${name}\n      ${[...told, `others ${others}`].join("\n      ")}\n`;
}

/** Returns all rows, one line each. */
export function tableOf(lines) {
  const rows = lines.map(({ name, cells, others, isRed }) => [
    isRed ? "RED" : "ok",
    name,
    ...Object.values(cells).map(({ state, text }) => (state === "ok" ? text : `${state} ${text}`)),
    others,
  ]);
  const head = ["", "row", "memory, MB", "descriptors", "p99 alone, beside, alone, ms", "others' CPU"];
  const widths = head.map((title, at) =>
    Math.max(...[title, ...rows.map((row) => row[at])].map((text) => text.length)),
  );
  const line = (row) => `| ${row.map((text, at) => text.padEnd(widths[at])).join(" | ")} |\n`;
  return [head, widths.map((width) => "-".repeat(width)), ...rows].map(line).join("");
}
