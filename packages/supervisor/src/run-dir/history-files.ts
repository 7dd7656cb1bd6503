/** Reads the history of a fleet, `history/17-reload.json`, which operations/history.ts writes, and single reports of deaths. */
import { lstatSync, statSync } from "node:fs";
import type { FleetRecords } from "../control/api.js";
import type { DeathReport } from "../core/deaths.js";
import { type HistoryEntry, type HistorySummary, isEntry } from "../core/history.js";
import { readReport } from "./death-files.js";
import { readDocuments, readNumbered } from "./numbered-files.js";

/** The most operations of a list. */
const MAX_LISTED = 100;

/** Returns the entries, the newest first, and the files that are none. @param runDir whose owner the folder must have */
export function readHistory(folder: string, runDir: string): { entries: HistoryEntry[]; unusable: string[] } {
  const uid = lstatSync(runDir, { throwIfNoEntry: false })?.uid;
  const { documents, unusable } = readDocuments(folder, isHistoryEntry, uid);
  return { entries: documents, unusable };
}

export function isHistoryEntry(value: unknown): value is HistoryEntry {
  return isEntry(value as Partial<HistoryEntry> | null);
}

/** Reports of deaths and the history, as the page reads them one by one. */
export class Records implements FleetRecords {
  /** The files are replaced by renaming, which changes the folder. */
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
