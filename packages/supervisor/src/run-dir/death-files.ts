/** The files of death reports: `deaths/17-web.3.json`, bounded in number and bytes. */
import { errorLineOf } from "@paceline/wire/proc";
import type { DeathDetails, DeathSummary } from "../control/api.js";
import { boundReport, type DeathReport, howItDied, reportsToRemove } from "../core/deaths.js";
import { NumberedFiles, readDocuments, readNumbered } from "./numbered-files.js";

/** The writer of one supervisor. */
export class DeathFiles {
  private readonly files: NumberedFiles;

  constructor(folder: string) {
    this.files = new NumberedFiles(folder, (kept) => reportsToRemove(kept));
  }

  /** Writes a new report and removes old ones. Returns it with its number. @throws PacelineError such as `ENOSPC` */
  add(report: Omit<DeathReport, "id">): DeathReport {
    return this.files.add(report.name, (id) => boundReport({ ...report, id }));
  }

  /** Writes it again, unless it was removed meanwhile. @throws PacelineError such as `ENOSPC`; the earlier one stays */
  update(report: DeathReport): void {
    this.files.update(boundReport(report));
  }
}

/** Reads all reports in a folder, the newest first. Skips those that this version cannot read. */
export function readReports(folder: string, uid = process.getuid?.()): DeathReport[] {
  return readDocuments(folder, isReport, uid).documents;
}

/** Returns one report of a folder; undefined if there is none with that number. */
export function readReport(folder: string, id: number): DeathReport | undefined {
  return readNumbered(folder, id, isReport);
}

function isReport(given: unknown): given is DeathReport {
  const value = given as Partial<DeathReport> | null;
  if (value?.version !== 1) return false;
  const numbers = [value.id, value.at, value.attempt, value.generation, value.uptimeMs, value.requestsOmitted];
  const texts = [value.process, value.name, value.kind, value.reason, value.state, value.runtime];
  const lists = [value.requests, value.stack, value.lastLines];
  return (
    numbers.every((number) => Number.isFinite(number)) &&
    texts.every((text) => typeof text === "string") &&
    lists.every(Array.isArray)
  );
}

/** Returns what a list shows of a report. */
export function summaryOf(report: DeathReport): DeathSummary {
  const { id, at, name, process, generation, kind, uptimeMs, reason, requests, lastLines, running, stack } = report;
  const reassigned = requests.filter(({ outcome }) => outcome === "reassigned").length;
  const said = errorLineOf(lastLines);
  const place = stack[0]?.replace(/\(.*\//, "(");
  const known = [place, running].filter((text) => text != null).join(", ");
  return {
    ...{ id, at, name, process, generation, kind, how: howItDied(report), uptimeMs, reason, running },
    ...{ lost: requests.length - reassigned, reassigned, lastLine: known || said },
  };
}

const MAX_LINES = 24;
const MAX_REQUESTS = 8;

export function detailsOf(report: DeathReport): DeathDetails {
  // Those that were running first: one of them may be the cause.
  const lost = report.requests
    .filter(({ outcome }) => outcome !== "reassigned")
    .sort((a, b) => Number(b.state === "running") - Number(a.state === "running"));
  const requests = lost.slice(0, MAX_REQUESTS).map(({ request }) => request);
  return { ...summaryOf(report), requests, lastLines: report.lastLines.slice(-MAX_LINES) };
}
