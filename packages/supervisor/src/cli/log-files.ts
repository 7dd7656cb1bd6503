/** How the files of the log are called. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

/** The one that is written to. */
export const LOG_FILE = "paceline.log";

/** The log files of `folder`, the newest first. */
export function logFilesIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return []; // There is none yet.
  }
  const numbered = names.flatMap((name) => {
    const [, number] = /^paceline\.log(?:\.(\d+))?$/.exec(name) ?? [];
    return name.startsWith(LOG_FILE) && (number !== undefined || name === LOG_FILE) ? [Number(number ?? 0)] : [];
  });
  return numbered.sort((a, b) => a - b).map((number) => join(folder, logFileName(number)));
}

/** 0 is the one that is written to, 1 the newest of the older ones. */
export function logFileName(number: number): string {
  return number === 0 ? LOG_FILE : `${LOG_FILE}.${number}`;
}
