/**
 * `hand-over.json` in a run directory. For a moment during a hand-over, no process holds the lock. Meanwhile the file keeps other programs
 * from taking it.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { readRegularFile } from "@paceline/wire";
import { attempt } from "@paceline/wire/proc";
import { PacelineError } from "../errors.js";
import { identify, isRunning, type ProcessIdentity } from "./lock.js";
import { replaceFile } from "./run-dir-files.js";

const NAME = "hand-over.json";
const MAX_BYTES = 64 << 10;
/**
 * How long the former supervisor waits for the next one. If the former one is killed during that time, its mark is valid no longer than
 * this.
 */
export const TAKE_OVER_MS = 30_000;

interface HandOverFile {
  /** The version of the next supervisor. */
  version: string;
  from: ProcessIdentity;
  to?: ProcessIdentity | undefined;
  /** In Unix time in milliseconds. */
  until: number;
}

export interface OpenHandOver {
  /** Called when the next supervisor runs. */
  started(pid: number): void;
  remove(): void;
}

/** Marks that this process hands over to another version. If the disk is full, there is no mark. */
export function beginHandOver(runDir: string, version: string): OpenHandOver {
  const path = join(runDir, NAME);
  const from = identify(process.pid);
  const until = Date.now() + TAKE_OVER_MS;
  const write = (to?: ProcessIdentity) =>
    attempt(() => from && replaceFile(path, JSON.stringify({ version, from, to, until } satisfies HandOverFile)));
  write();
  return { started: (pid) => write(identify(pid)), remove: () => attempt(() => rmSync(path, { force: true })) };
}

/** A hand-over in progress. */
interface HandOverUnderWay {
  /** The version of the next supervisor. */
  version: string;
  /** The pid of the next supervisor; until the next one has been started, that of the former supervisor. */
  pid: number;
  /** Whether this process is the one that hands over or takes over. */
  isOwn: boolean;
}

/** Returns the hand-over that is in progress in this run directory. */
export function handOverIn(runDir: string): HandOverUnderWay | undefined {
  const mark = attempt(
    () => JSON.parse(readRegularFile(join(runDir, NAME), { maxBytes: MAX_BYTES }).toString()) as Partial<HandOverFile>,
  );
  const { version, from, to, until } = mark ?? {};
  if (typeof version !== "string" || from === undefined || typeof until !== "number") return undefined;
  const hasStarted = to !== undefined && isRunning(to);
  if (!isRunning(from) && !(hasStarted && Date.now() < until)) return undefined;
  // The former supervisor starts the next one itself, and takes the fleet back if that fails.
  const isOwn = [from.pid, to?.pid].includes(process.pid) || from.pid === process.ppid;
  return { version, pid: hasStarted ? to.pid : from.pid, isOwn };
}

/** @throws PacelineError `busy` if others hand the fleet over */
export function refuseDuringHandOver(runDir: string): void {
  const handOver = handOverIn(runDir);
  if (handOver !== undefined && !handOver.isOwn) throw new PacelineError("busy", handOverText("the fleet", handOver));
}

export function handOverText(fleet: string, { version, pid }: HandOverUnderWay): string {
  return `${fleet} is being upgraded to Paceline ${version} (pid ${pid}): try again in a moment`;
}
