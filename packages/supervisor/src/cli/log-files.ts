/** The names of the log files. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

/** The current log file. */
export const LOG_FILE = "paceline.log";

/** Returns the log files of `folder`, the newest first. */
export function logFilesIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return []; // The folder does not exist yet.
  }
  const numbered = names.flatMap((name) => {
    const [, number] = /^paceline\.log(?:\.(\d+))?$/.exec(name) ?? [];
    return name.startsWith(LOG_FILE) && (number !== undefined || name === LOG_FILE) ? [Number(number ?? 0)] : [];
  });
  return numbered.sort((a, b) => a - b).map((number) => join(folder, logFileName(number)));
}

/** Returns the name of a log file: 0 is the current file, 1 the newest of the older ones. */
export function logFileName(number: number): string {
  return number === 0 ? LOG_FILE : `${LOG_FILE}.${number}`;
}
