/** Writes a report into docs/benchmarks.md, between its two pairs of marks, and the chart into the same folder. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { barChart } from "./chart.mjs";
import { chartPanels } from "./chart-panels.mjs";
import { lossesOf, lossTables } from "./losses.mjs";
import { ROOT } from "./programs.mjs";
import { summaryMarkdown } from "./summary.mjs";
import { markdownTable, notesOf, tablesOf } from "./tables.mjs";

const CHART = "benchmarks.svg";

/** @returns the paths of the written files */
export function writeDocs(report) {
  const page = path.join(ROOT, "docs/benchmarks.md");
  const panels = chartPanels(report.sections);
  const written = [page];
  if (panels.length > 0) {
    const chart = path.join(ROOT, "docs", CHART);
    writeFileSync(chart, barChart({ title: "CPU time a request, µs, of all server-side processes", panels }));
    written.push(chart);
  }
  const summary = summaryMarkdown(report, panels.length > 0 ? CHART : undefined);
  const text = replaceRegion(readFileSync(page, "utf8"), "bench:summary", summary);
  writeFileSync(page, replaceRegion(text, "bench", reportMarkdown(report)));
  return written;
}

/** Replaces the content between the marks of this name. */
export function replaceRegion(page, name, content) {
  const begin = `<!-- ${name}:begin -->`;
  const end = `<!-- ${name}:end -->`;
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the page has no region between ${begin} and ${end}`);
  return `${page.slice(0, from + begin.length)}\n\n${content.trim()}\n\n${page.slice(to)}`;
}

/** Returns the region with all figures: tables, settings, and every loss. */
export function reportMarkdown({ settings, sections }) {
  const parts = [];
  for (const section of sections) {
    parts.push(`### ${section.title}`, ...tablesOf(section, settings).map(markdownTable));
    const notes = notesOf(section);
    if (notes.length > 0) parts.push(notes.map((note) => `- ${note}`).join("\n"));
  }
  parts.push("### Settings", settingsList(sections), "### Every loss");
  const losses = lossTables(lossesOf(sections));
  if (losses.length === 0) parts.push("None in these figures.");
  else parts.push("Every figure in which a peer is better: theirs / ours.", ...losses.map(markdownTable));
  return parts.join("\n\n");
}

/** Lists each contestant's settings once: for one instance, and for a fleet of any size. */
function settingsList(sections) {
  const lines = new Set();
  for (const { instances, rows } of sections) {
    const of = instances === 1 ? "alone" : "fleet";
    for (const { name, settings } of rows) lines.add(`- ${name}, ${of}: ${settings}`);
  }
  return [...lines].join("\n");
}
