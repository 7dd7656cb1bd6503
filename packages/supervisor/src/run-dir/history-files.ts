/** Reads the history of a fleet: `history/17-reload.json`, written by operations/history.ts. */
import { lstatSync } from "node:fs";
import { type HistoryEntry, isEntry } from "../core/history.js";
import { readDocuments } from "./numbered-files.js";

/** Returns the entries, the newest first, and the files that are none. @param runDir whose owner the folder must have */
export function readHistory(folder: string, runDir: string): { entries: HistoryEntry[]; unusable: string[] } {
  const uid = lstatSync(runDir, { throwIfNoEntry: false })?.uid;
  const { documents, unusable } = readDocuments(folder, isHistoryEntry, uid);
  return { entries: documents, unusable };
}

export function isHistoryEntry(value: unknown): value is HistoryEntry {
  return isEntry(value as Partial<HistoryEntry> | null);
}
