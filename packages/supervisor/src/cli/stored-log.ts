/** Reads the log of a fleet that does not run, from the files that it was kept in. */
import { readFileSync } from "node:fs";
import { isLineOf, type LogLine, unknownName } from "../control/api.js";
import { PacelineError } from "../errors.js";
import { parseLogJson } from "./format-line.js";

/** More are not asked for. */
const MOST_LINES = 1_000_000;

/**
 * The last `count` lines of `name`, oldest first, from `files`, whose first is the newest.
 * @throws PacelineError `invalid` when nothing of that name ever wrote
 */
export function readStoredLog<Line>(
  files: readonly string[],
  name: string | undefined,
  count: number,
  fromLog: (line: LogLine) => Line | undefined,
): Line[] {
  const kept: Line[][] = [];
  const names = new Set<string>();
  let left = Math.min(count, MOST_LINES);
  for (const file of files) {
    const lines = readLines(file);
    for (const { name: writer, subject = writer } of lines) names.add(subject.replace(/ .*/, ""));
    const ours = lines.filter((line) => isLineOf(line, name)).flatMap((line) => fromLog(line) ?? []);
    const wanted = left === 0 ? [] : ours.slice(-left);
    kept.push(wanted);
    left -= wanted.length;
    if (left === 0 && kept.some((some) => some.length > 0)) break;
  }
  const lines = kept.reverse().flat();
  if (name !== undefined && lines.length === 0) checkName(name, names);
  return lines;
}

function readLines(file: string): LogLine[] {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .flatMap((json) => parseLogJson(json) ?? []);
  } catch {
    return []; // It went while we looked.
  }
}

function checkName(name: string, writers: ReadonlySet<string>): void {
  const pools = new Set([...writers].map((each) => each.split(".")[0] as string));
  const known = [...new Set([...pools, ...writers, "paceline"])].sort();
  if (!known.includes(name)) throw new PacelineError("invalid", unknownName(name, known));
}
