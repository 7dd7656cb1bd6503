/** Reads a folder's names one after the other, no more than are wanted: it may have millions. */
import { opendirSync } from "node:fs";
import { kindOf, type TakeEntry } from "./entry-kind.js";
import { readEntriesOnBun } from "./folder-entries-bun.js";

/** @throws as `opendir` */
export function readEntries(folder: string, take: TakeEntry): void {
  if (process.versions.bun !== undefined && readEntriesOnBun(folder, take)) return;
  const directory = opendirSync(folder);
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      if (!take(entry.name, kindOf(entry))) return;
    }
  } finally {
    directory.closeSync();
  }
}
