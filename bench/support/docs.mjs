/** Writes a report into docs/benchmarks.md, between its marks, and the chart beside it. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { barChart } from "./chart.mjs";
import { chartPanels } from "./chart-panels.mjs";
import { lossesOf, lossTables } from "./losses.mjs";
import { ROOT } from "./programs.mjs";
import { markdownTable, notesOf, tablesOf } from "./tables.mjs";

const BEGIN = "<!-- bench:begin -->";
const END = "<!-- bench:end -->";
const CHART = "benchmarks.svg";

/** @returns the paths of the files it wrote */
export function writeDocs(report) {
  const page = path.join(ROOT, "docs/benchmarks.md");
  const panels = chartPanels(report.sections);
  const written = [page];
  if (panels.length > 0) {
    const chart = path.join(ROOT, "docs", CHART);
    writeFileSync(chart, barChart({ title: "CPU time a request, µs, of all server-side processes", panels }));
    written.push(chart);
  }
  const text = readFileSync(page, "utf8");
  writeFileSync(page, replaceRegion(text, reportMarkdown(report, panels.length > 0)));
  return written;
}

/** Puts the content between the marks of the page. */
export function replaceRegion(page, content) {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`the page has no region between ${BEGIN} and ${END}`);
  return `${page.slice(0, begin + BEGIN.length)}\n\n${content.trim()}\n\n${page.slice(end)}`;
}

/** The region: machine, versions and what was missing, chart, tables, settings, where we lose. */
export function reportMarkdown({ date, machine, versions, missing, settings, sections }, hasChart) {
  const found = Object.entries(versions).filter(([, version]) => version !== undefined && version !== null);
  const missed = Object.entries(missing).map(([name, program]) => `${name} (${program} was not there)`);
  const rounds = settings.rounds === 1 ? "One round" : `Medians of ${settings.rounds} rounds`;
  const parts = [
    `${rounds}, ${date}; ${machine.cpus} × ${machine.cpu}, ${machine.memoryGB} GB, ${machine.system}, load generator included.`,
    `Versions: ${found.map(([name, version]) => `${name} ${version}`).join(", ")}. Missing: ${missed.join(", ") || "nothing"}.`,
  ];
  if (hasChart) parts.push(`![CPU time a request, by fleet size and contestant](${CHART})`);
  for (const section of sections) {
    parts.push(`### ${section.title}`, ...tablesOf(section, settings).map(markdownTable));
    const notes = notesOf(section);
    if (notes.length > 0) parts.push(notes.map((note) => `- ${note}`).join("\n"));
  }
  parts.push("### Settings", settingsList(sections), "### Where we lose");
  const losses = lossTables(lossesOf(sections));
  if (losses.length === 0) parts.push("Nowhere in these figures.");
  else parts.push("Every figure in which a peer's is better: theirs / ours.", ...losses.map(markdownTable));
  return parts.join("\n\n");
}

/** Each contestant's settings once: those of one instance, and those of a fleet, which are the same in all sizes. */
function settingsList(sections) {
  const lines = new Set();
  for (const { instances, rows } of sections) {
    const of = instances === 1 ? "alone" : "fleet";
    for (const { name, settings } of rows) lines.add(`- ${name}, ${of}: ${settings}`);
  }
  return [...lines].join("\n");
}
