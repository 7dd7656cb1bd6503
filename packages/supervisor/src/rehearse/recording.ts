/** Recordings of requests: a file with a line of JSON for each, without anything secret. Pure. */
import { RECORDED_MASK, type RecordedRequest } from "@paceline/wire";
import type { Ask } from "./exchange.js";

/** The first line. */
const HEAD = { paceline: "recording", version: 1 } as const;

interface Recorded extends Omit<RecordedRequest, "at"> {
  /** Since the begin of the recording. */
  atMs: number;
}

export function headLine(startedAt: number): string {
  return `${JSON.stringify({ ...HEAD, startedAt })}\n`;
}

export function recordedLine(recorded: Recorded): string {
  return `${JSON.stringify(recorded)}\n`;
}

/** What is sent again of a recording. */
export interface Replayed {
  entries: readonly { atMs: number; ask: Ask }[];
  /** From the first request to the last, and the mean pause. */
  lengthMs: number;
  /** Requests that cannot be sent again: they had a body, or their path was not recorded. */
  skipped: number;
}

/** Methods of requests without a body, which change nothing. */
const REPLAYED_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
export const MAX_RECORDED = 1_000_000;

/** Reads a recording. @returns what is wrong with it, with the number of the line */
export function readRecording(text: string, host: string): Replayed | { problem: string } {
  const lines = text.split("\n");
  const head = parse(lines[0] ?? "") as Partial<typeof HEAD> | undefined;
  if (head?.paceline !== HEAD.paceline) return { problem: "is no recording of paceline record" };
  if (head.version !== HEAD.version) return { problem: "is a recording of another version of Paceline" };
  const entries: { atMs: number; ask: Ask }[] = [];
  let skipped = 0;
  for (const [at, line] of lines.entries()) {
    if (at === 0 || line === "") continue;
    const { atMs, method, path } = (parse(line) ?? {}) as Partial<Recorded>;
    // The last line may be cut off, as on a full disk.
    if (at === lines.length - 1 && atMs === undefined) break;
    if (!isTime(atMs) || typeof method !== "string" || typeof path !== "string")
      return { problem: `line ${at + 1} is no recorded request` };
    if (entries.length >= MAX_RECORDED) return { problem: `has more than ${MAX_RECORDED} requests` };
    if (!REPLAYED_METHODS.has(method) || !/^\/[!-~]*$/.test(path) || path.split(/[/?]/).includes(RECORDED_MASK))
      skipped++;
    else entries.push({ atMs, ask: { method, path, host } });
  }
  if (entries.length === 0) return { problem: "has no GET, HEAD or OPTIONS request that can be sent again" };
  entries.sort((a, b) => a.atMs - b.atMs);
  const first = (entries[0] as { atMs: number }).atMs;
  const shifted = entries.map(({ atMs, ask }) => ({ atMs: atMs - first, ask }));
  const span = (shifted.at(-1) as { atMs: number }).atMs;
  return { entries: shifted, lengthMs: Math.max(1, span + span / shifted.length), skipped };
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value < 1e10;
}

function parse(line: string): object | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
