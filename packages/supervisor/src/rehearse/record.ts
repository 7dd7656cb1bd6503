/** Records the requests of a running fleet: method, path, time, status and size of each, nothing else. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import type { RecordingLine } from "../control/api.js";
import { PacelineError } from "../errors.js";
import type { FleetClient } from "../fleet/fleet.js";
import { headLine, MAX_RECORDED, recordedLine } from "./recording.js";

const MAX_FILE_BYTES = 64 << 20;

export interface RecordOptions {
  fleet: FleetClient;
  /** A new file. */
  file: string;
  forMs: number;
  /** Ends the recording early. */
  signal: AbortSignal;
  /** All balancers report their requests from now on. */
  onBegin(): void;
}

interface RecordResult {
  requests: number;
  /** Requests that came faster than they could be recorded. */
  lost: number;
  /** Whether the file has reached its limit. */
  isFull: boolean;
}

/** Also ends when the fleet stops. @throws PacelineError `failed` if the file cannot be written; then there is no file */
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
