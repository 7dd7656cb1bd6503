/**
 * Recordings of requests, in a file with one line of JSON for each request and nothing secret: how they are read, and how a running fleet
 * is recorded.
 */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { RECORDED_MASK, type RecordedRequest } from "@paceline/wire";
import type { RecordingLine } from "../control/api.js";
import { PacelineError } from "../errors.js";
import type { FleetClient } from "../fleet/fleet.js";
import type { Ask } from "./exchange.js";

/** The first line. */
const HEAD = { paceline: "recording", version: 1 } as const;

interface Recorded extends Omit<RecordedRequest, "at"> {
  /** Since the beginning of the recording, in milliseconds. */
  atMs: number;
}

export function headLine(startedAt: number): string {
  return `${JSON.stringify({ ...HEAD, startedAt })}\n`;
}

export function recordedLine(recorded: Recorded): string {
  return `${JSON.stringify(recorded)}\n`;
}

/** The part of a recording that is sent again. */
export interface Replayed {
  entries: readonly { atMs: number; ask: Ask }[];
  /** The time from the first request to the last plus the mean pause, in milliseconds. */
  lengthMs: number;
  /** The number of requests that cannot be sent again: they had a body, or their path was not recorded. */
  skipped: number;
}

/** Methods of requests that have no body and change nothing. */
const REPLAYED_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
const MAX_RECORDED = 1_000_000;

/**
 * Reads a recording.
 * @returns the requests, or what is wrong with the recording, with the number of the line
 */
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
    // The last line may be cut off, for example because the disk was full.
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

const MAX_FILE_BYTES = 64 << 20;

export interface RecordOptions {
  fleet: FleetClient;
  /** The path of the file to create. */
  file: string;
  forMs: number;
  /** Ends the recording early. */
  signal: AbortSignal;
  /** Called when all balancers report their requests. */
  onBegin(): void;
}

interface RecordResult {
  requests: number;
  /** The number of requests that came too fast to be recorded. */
  lost: number;
  /** Whether the file has reached its maximum size. */
  isFull: boolean;
}

/**
 * Records the requests of a running fleet. The recording also ends when the fleet stops.
 * @throws PacelineError `failed` if the file cannot be written; it is removed then
 */
export async function record({ fleet, file, forMs, signal, onBegin }: RecordOptions): Promise<RecordResult> {
  const fd = open(file);
  const startedAt = Date.now();
  const result = { requests: 0, lost: 0, isFull: false };
  const ending = new AbortController();
  const stop = () => ending.abort();
  let timer: NodeJS.Timeout | undefined;
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  try {
    let bytes = write(fd, headLine(startedAt));
    const take = (lines: readonly RecordingLine[]) => {
      for (const line of lines) {
        if (result.isFull) break;
        if ("began" in line) {
          timer = setTimeout(stop, forMs);
          onBegin();
        } else if ("lost" in line) result.lost += line.lost;
        else {
          const { at, ...rest } = line;
          bytes += write(fd, recordedLine({ atMs: Math.max(0, at - startedAt), ...rest }));
          result.requests++;
          result.isFull = bytes >= MAX_FILE_BYTES || result.requests >= MAX_RECORDED;
        }
      }
      if (result.isFull) stop();
    };
    await fleet.read<RecordingLine>("requests", { signal: ending.signal }, take).catch((error: unknown) => {
      if (!ending.signal.aborted) throw error;
    });
    return result;
  } catch (error) {
    rmSync(file, { force: true });
    throw error;
  } finally {
    clearTimeout(timer);
    closeSync(fd);
    signal.removeEventListener("abort", stop);
  }
}

/** @throws PacelineError `failed` */
function open(file: string): number {
  try {
    return openSync(file, "wx", 0o600);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why: Record<string, string> = {
      EEXIST: `${file} exists: name another file with --to`,
      ENOENT: `${file} cannot be written: its folder does not exist`,
    };
    throw new PacelineError("failed", why[code ?? ""] ?? `${file} cannot be written: ${message}`, { cause });
  }
}

/** @throws PacelineError `failed` on a full disk */
function write(fd: number, text: string): number {
  try {
    return writeSync(fd, text);
  } catch (cause) {
    throw new PacelineError("failed", `the recording cannot be written: ${(cause as Error).message}`, { cause });
  }
}
