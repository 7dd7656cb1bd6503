/** The files of death reports, `deaths/17-web.3.json`, and of the history, `history/17-reload.json`, which operations/history.ts writes. */
import { lstatSync, statSync } from "node:fs";
import { errorLineOf } from "@paceline/wire/proc";
import type { DeathDetails, DeathSummary, FleetRecords } from "../control/api.js";
import { boundReport, type DeathReport, howItDied, reportsToRemove } from "../core/deaths.js";
import { type HistoryEntry, type HistorySummary, isEntry } from "../core/history.js";
import { NumberedFiles, readDocuments, readNumbered } from "./numbered-files.js";

/** Writes the death reports of one supervisor. */
export class DeathFiles {
  private readonly files: NumberedFiles;

  constructor(folder: string) {
    this.files = new NumberedFiles(folder, (kept) => reportsToRemove(kept));
  }

  /**
   * Writes a new report and removes old ones. Returns it with its number.
   * @throws PacelineError with the system's code, for example `ENOSPC`
   */
  add(report: Omit<DeathReport, "id">): DeathReport {
    return this.files.add(report.name, (id) => boundReport({ ...report, id }));
  }

  /**
   * Writes the report again, unless its file was removed in the meantime.
   * @throws PacelineError with the system's code, for example `ENOSPC`; the previous file stays
   */
  update(report: DeathReport): void {
    this.files.update(boundReport(report));
  }
}

/** Reads all reports in a folder, newest first. Skips those that this version cannot read. */
export function readReports(folder: string, uid = process.getuid?.()): DeathReport[] {
  return readDocuments(folder, isReport, uid).documents;
}

/** Returns one report of a folder; undefined if there is none with that number. */
function readReport(folder: string, id: number): DeathReport | undefined {
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

/** Returns the part of a report that a list shows. */
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
const MAX_RUNNING = 3;

export function detailsOf(report: DeathReport): DeathDetails {
  // Requests that were running come first: one of them may be the cause.
  const lost = report.requests
    .filter(({ outcome }) => outcome !== "reassigned")
    .sort((a, b) => Number(b.state === "running") - Number(a.state === "running"));
  const requests = lost.slice(0, MAX_REQUESTS).map(({ request }) => request);
  // Includes requests that another instance then got.
  const ran = new Set(report.requests.flatMap(({ state, request }) => (state === "running" ? [request] : [])));
  const running = report.running ?? ([...ran].slice(0, MAX_RUNNING).join(", ") || null);
  return { ...summaryOf(report), running, requests, lastLines: report.lastLines.slice(-MAX_LINES) };
}

/** The maximum number of operations in a list. */
const MAX_LISTED = 100;

/**
 * Returns the entries, newest first, and the files that cannot be read as entries.
 * @param runDir a run directory; the folder must have the same owner
 */
export function readHistory(folder: string, runDir: string): { entries: HistoryEntry[]; unusable: string[] } {
  const uid = lstatSync(runDir, { throwIfNoEntry: false })?.uid;
  const { documents, unusable } = readDocuments(folder, isHistoryEntry, uid);
  return { entries: documents, unusable };
}

export function isHistoryEntry(value: unknown): value is HistoryEntry {
  return isEntry(value as Partial<HistoryEntry> | null);
}

/** The death reports and the history, as the page reads them one by one. */
export class Records implements FleetRecords {
  /** Files are replaced by renaming, which changes the modification time of the folder. */
  private known: { changedAt: number; list: HistorySummary[] } | undefined;

  constructor(private readonly folders: { deathsFolder: string; historyFolder: string }) {}

  death(id: number): DeathReport | undefined {
    return readReport(this.folders.deathsFolder, id);
  }

  operations(): HistorySummary[] {
    const { historyFolder } = this.folders;
    const changedAt = statSync(historyFolder, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (this.known?.changedAt !== changedAt) {
      const { documents } = readDocuments(historyFolder, isHistoryEntry);
      this.known = { changedAt, list: documents.slice(0, MAX_LISTED).map(withoutSteps) };
    }
    return this.known.list;
  }

  operation(id: number): HistoryEntry | undefined {
    return readNumbered(this.folders.historyFolder, id, isHistoryEntry);
  }
}

function withoutSteps({ version: _, steps: __, stepsOmitted: ___, ...rest }: HistoryEntry): HistorySummary {
  return rest;
}
