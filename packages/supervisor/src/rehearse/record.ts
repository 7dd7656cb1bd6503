/** Records the requests of a running fleet from the access log of its balancers: method, path, time, status and size of each, nothing else. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { LogLine } from "../control/api.js";
import { PacelineError } from "../errors.js";
import type { FleetClient } from "../fleet/fleet.js";
import { headLine, MAX_RECORDED, type Recorded, recordedLine, withoutSecrets } from "./recording.js";
import { statusOf } from "./watch.js";

const MAX_FILE_BYTES = 64 << 20;
const LOOK_EVERY_MS = 500;
/** By then the access log of a request has arrived. */
const LOG_ARRIVES_MS = 3_000;

/** A line of the access log, as docs/operations.md describes it: what a recording keeps of it is in the groups. */
const LINE =
  /^\S+ \S+ \S+ \[[^\]]*\] "([A-Z]{1,20}) (\S+) HTTP\/1\.[01]" (\d{3}) (\d+) "(?:[^"]*)" "(?:[^"]*)" (\d+\.\d+) \S+$/;

/** Returns what is recorded of a line; undefined if it is none of the access log. @param at when the line was written */
export function recordedOf(text: string, at: number, startedAt: number): Recorded | undefined {
  const [, method, target, status, bytes, seconds] = LINE.exec(text) ?? [];
  if (method === undefined || target === undefined || !target.startsWith("/")) return undefined;
  const ms = Math.round(Number(seconds) * 1e6) / 1e3;
  const atMs = Math.max(0, Math.round(at - startedAt - ms));
  return { atMs, method, path: withoutSecrets(target), status: Number(status), bytes: Number(bytes), ms };
}

export interface RecordOptions {
  fleet: FleetClient;
  /** A new file. */
  file: string;
  forMs: number;
  /** Ends the recording early. */
  signal: AbortSignal;
}

export interface RecordResult {
  requests: number;
  /** Whether the file has reached its limit. */
  isFull: boolean;
}

/** @throws PacelineError `failed` if the fleet writes no access log or the file cannot be written; then there is no file */
export async function record({ fleet, file, forMs, signal }: RecordOptions): Promise<RecordResult> {
  const before = await statusOf(fleet);
  const fd = open(file);
  const startedAt = Date.now();
  const result = { requests: 0, isFull: false };
  let bytes = write(fd, headLine(startedAt));
  const ending = new AbortController();
  const stop = () => ending.abort();
  signal.addEventListener("abort", stop);
  const take = (lines: readonly LogLine[]) => {
    for (const { text, at } of lines) {
      const recorded = recordedOf(text, at, startedAt);
      if (recorded === undefined || result.isFull) continue;
      bytes += write(fd, recordedLine(recorded));
      result.requests++;
      result.isFull = bytes >= MAX_FILE_BYTES || result.requests >= MAX_RECORDED;
    }
    if (result.isFull) stop();
  };
  try {
    const reading = fleet.read<LogLine>("logs", { name: "balancer", lines: 0, signal: ending.signal }, take);
    let failure: unknown;
    reading.catch((error) => {
      failure = ending.signal.aborted ? undefined : error;
      stop();
    });
    for (const from = performance.now(); performance.now() - from < forMs && !ending.signal.aborted; ) {
      await sleep(LOOK_EVERY_MS, undefined, { signal: ending.signal }).catch(() => {});
      if (result.requests > 0 || performance.now() - from < LOG_ARRIVES_MS || ending.signal.aborted) continue;
      if ((await statusOf(fleet)).requestsTotal > before.requestsTotal) throw new PacelineError("failed", NO_LOG);
    }
    stop();
    await reading.catch(() => {});
    if (failure !== undefined) throw failure;
    closeSync(fd);
    return result;
  } catch (error) {
    stop();
    closeSync(fd);
    rmSync(file, { force: true });
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

const NO_LOG =
  "the fleet responds to requests, but writes no access log to record them from: set balancer.accessLog to true, then paceline reload";

/** @throws PacelineError `failed` */
function open(file: string): number {
  try {
    return openSync(file, "wx", 0o600);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new PacelineError("failed", code === "EEXIST" ? `${file} exists: name another file with --to` : message, {
      cause,
    });
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
