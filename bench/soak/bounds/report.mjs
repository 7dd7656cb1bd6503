/** Judges the results of a row, and prints the table. */
import { MOST_MB } from "./row.mjs";

/** Two runs of the runtime's own server differ by this much. */
const BESIDE_BARE = 1.1;

/**
 * Returns the line of a round in the table. `known` names limits from docs/security.md; its memory limit applies to one process,
 * `known.process`, which may additionally hold what the runtime's own server held under the same peers in the same run.
 * @param fixed the price of each connection or request that the peers hold, in kilobytes; its row is judged only by that. It is at least
 * the price in the runtime's own server, where that was measured
 */
export function lineOf(name, found, known = {}, fixed = undefined) {
  const price = fixed && { ...fixed, kilobytes: Math.max(fixed.kilobytes, bareKilobytes(found, fixed)) };
  const grown = Object.entries(found.grown).sort((a, b) => b[1] - a[1]);
  const mostMB = price === undefined ? MOST_MB : (price.count * price.kilobytes) / 1024;
  const large = grown.filter(([, mb]) => mb >= mostMB);
  const isKnown = large.every(([process, mb]) => process === known.process && mb < mostMB + found.bareMB);
  const knownMemory = isKnown ? `${known.memory}, in this run +${found.bareMB.toFixed(1)}` : undefined;
  const cells = {
    memory: cell(
      large.length === 0,
      priceOf(grown, price) + grown.slice(0, 2).map(describe(found)).join(", "),
      knownMemory,
    ),
    descriptors: cell(found.leftOpen.length === 0, found.leftOpen.join(", ") || "closed", known.descriptors),
    p99: cell(found.isQuick, found.failed === 0 ? found.p99 : `${found.p99}, ${found.failed} failed`, known.p99),
  };
  const more = {
    nginx: found.yardstick ?? "",
    load: found.load.map(([process, percent]) => `${process} ${percent} %`).join(", "),
    others: `${(100 * found.others).toFixed(0)} %`,
  };
  return { name, cells, more, isRed: Object.values(cells).some(({ state }) => state === "RED") };
}

function bareKilobytes({ bareMB }, { count }) {
  return (BESIDE_BARE * 1024 * bareMB) / count;
}

/** Returns the line of a row that failed to run. */
export function lineOfFailure(name, error) {
  const none = { state: "ok", text: "" };
  return { name, cells: { memory: cell(false, error.message), descriptors: none, p99: none }, more: {}, isRed: true };
}

/** @returns what each connection or request has cost the process that grew most */
function priceOf([[process, mb]], price) {
  if (price === undefined) return "";
  const { count, kilobytes } = price;
  return `${((1024 * mb) / count).toFixed(1)} of ${kilobytes.toFixed(0)} KB each in ${process}: `;
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

export function textOf({ name, cells, more, isRed }) {
  const told = Object.entries(cells).map(([what, { state, text }]) => `${what} ${state}: ${text}`);
  for (const [what, text] of Object.entries(more)) if (text !== "") told.push(`${what}: ${text}`);
  return `${isRed ? "RED" : "ok "} ${name}\n      ${told.join("\n      ")}\n`;
}

/** Returns all rows, one line each. */
export function tableOf(lines) {
  const rows = lines.map(({ name, cells, more, isRed }) => [
    isRed ? "RED" : "ok",
    name,
    ...Object.values(cells).map(({ state, text }) => (state === "ok" ? text : `${state} ${text}`)),
    ...["nginx", "load", "others"].map((what) => more[what] ?? ""),
  ]);
  const head = ["", "row", "memory, MB", "descriptors", "p99 alone, beside, alone, ms", "nginx", "CPU", "others' CPU"];
  const widths = head.map((title, at) =>
    Math.max(...[title, ...rows.map((row) => row[at])].map((text) => text.length)),
  );
  const line = (row) => `| ${row.map((text, at) => text.padEnd(widths[at])).join(" | ")} |\n`;
  return [head, widths.map((width) => "-".repeat(width)), ...rows].map(line).join("");
}
