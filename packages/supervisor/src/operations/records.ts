/** Single reports of deaths and the history of operations, as the page reads them from their files. */
import { statSync } from "node:fs";
import type { FleetRecords } from "../control/api.js";
import type { DeathReport } from "../core/deaths.js";
import type { HistoryEntry, HistorySummary } from "../core/history.js";
import { readReport } from "../run-dir/death-files.js";
import { isHistoryEntry } from "../run-dir/history-files.js";
import { readDocuments, readNumbered } from "../run-dir/numbered-files.js";

/** The most operations of a list. */
const MAX_LISTED = 100;

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
