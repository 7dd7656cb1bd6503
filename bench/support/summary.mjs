/** The summary at the top of docs/benchmarks.md: machine, versions, chart, and three small tables of the report. */
import { markdownTable } from "./tables.mjs";

/** The titles of the two loads: one connection per request, and kept connections. */
const LOADS = [
  ["close", "close"],
  ["keep-alive", "kept"],
];
const whole = (value) => (typeof value === "number" ? Math.round(value).toLocaleString("en-US") : "–");
const tenths = (value) => (typeof value === "number" ? value.toFixed(1) : "–");

/** @returns Markdown; a section that was not measured has no table */
export function summaryMarkdown({ date, machine, versions, missing, settings, sections }, chart) {
  const found = Object.entries(versions).filter(([, version]) => version !== undefined && version !== null);
  const missed = Object.entries(missing).map(([name, program]) => `${name} (${program} is not installed)`);
  const rounds = settings.rounds === 1 ? "One round" : `Medians of ${settings.rounds} rounds`;
  const section = (id) => sections.find((each) => each.id === id);
  return [
    `${rounds}, ${date}; ${machine.cpus} × ${machine.cpu}, ${machine.memoryGB} GB, ${machine.system}, with the load generator on the same machine.\nVersions: ${found.map(([name, version]) => `${name} ${version}`).join(", ")}. Missing: ${missed.join(", ") || "none"}.`,
    ...(chart === undefined ? [] : [`![CPU time a request, by fleet size and contestant](${chart})`]),
    ...["alone", "fleet-2"].flatMap((id) => loadTable(section(id))),
    ...memoryTable(section("memory-30")),
  ].join("\n\n");
}

function loadTable(section) {
  if (section === undefined) return [];
  const header = ["", ...LOADS.flatMap(([, title]) => [`${title}: CPU µs/req`, `${title}: req/s`]), "PSS MB"];
  const rows = shortRows(section).map((row) => [
    row.name,
    ...LOADS.flatMap(([load]) => [tenths(row[load]?.cpuUs), whole(row[load]?.requestsPerSecond)]),
    whole(row.close?.pssMB),
  ]);
  return [markdownTable({ caption: section.title, header, rows })];
}

function memoryTable(section) {
  if (section === undefined) return [];
  const rows = shortRows(section).map((row) => [row.name, whole(row.idle?.pssMB), whole(row.loaded?.pssMB)]);
  return [markdownTable({ caption: section.title, header: ["", "idle: PSS MB", "after load: PSS MB"], rows })];
}

/** Keeps the first of our variants on each runtime. */
function shortRows({ rows }) {
  return rows.filter(
    ({ isOurs, runtime }, i) => !isOurs || rows.findIndex((row) => row.isOurs && row.runtime === runtime) === i,
  );
}
