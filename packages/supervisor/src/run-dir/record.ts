/** `fleet.json` in a run directory: what the fleet there is, for whoever finds it. */
import { closeSync, constants, ftruncateSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "./write-file.js";

export interface FleetRecord {
  version: 1;
  /** The fleet's identity: see FleetIdentity. */
  source: string;
  folder: string;
  /** The folder that the config was read from last, symbolic links followed. */
  release: string;
  name: string;
  /** The supervisor; unix time in milliseconds. */
  pid: number;
  startedAt: number;
  /** Null while it runs, and for ever when it was killed. */
  endedAt: number | null;
  orphanGraceMs: number;
  controlSocket: string;
  channelSocket: string;
}

const NAME = "fleet.json";
const MAX_BYTES = 64 << 10;

/** Replaces the record in the run directory `path`, so that whoever reads it sees all of one. @throws PacelineError such as `ENOSPC` */
export function writeRecord(path: string, record: FleetRecord): void {
  replaceFile(join(path, NAME), textOf(record));
}

/** Writes the last record of a fleet that has ended. Without room for it the old one is written over, or else removed. */
export function writeLastRecord(path: string, record: FleetRecord): void {
  try {
    writeRecord(path, record);
  } catch {
    if (!overwrite(join(path, NAME), textOf(record))) rmSync(join(path, NAME), { force: true });
  }
}

/** Whether the text fits into the room that the file has. */
function overwrite(file: string, text: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(file, constants.O_WRONLY | constants.O_NOFOLLOW);
    const length = writeSync(fd, text, 0);
    ftruncateSync(fd, length);
    return length === Buffer.byteLength(text);
  } catch {
    return false; // The caller removes what is left.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function textOf(record: FleetRecord): string {
  return `${JSON.stringify(record, null, 2)}\n`;
}

/** The record in the run directory `path`; undefined when there is none that this version can read. */
export function readRecord(path: string): FleetRecord | undefined {
  let fd: number;
  try {
    fd = openSync(join(path, NAME), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined; // None there, or not for us to read.
  }
  try {
    const buffer = Buffer.alloc(MAX_BYTES);
    const length = readSync(fd, buffer, 0, MAX_BYTES, 0);
    const record = JSON.parse(buffer.toString("utf8", 0, length)) as FleetRecord;
    return isRecord(record) ? record : undefined;
  } catch {
    return undefined; // Cut short by a full disk, say.
  } finally {
    closeSync(fd);
  }
}

function isRecord(value: Partial<FleetRecord> | null): value is FleetRecord {
  if (value?.version !== 1) return false;
  const texts = [value.source, value.folder, value.release, value.name, value.controlSocket, value.channelSocket];
  const numbers = [value.pid, value.startedAt, value.orphanGraceMs];
  return texts.every((text) => typeof text === "string") && numbers.every((number) => Number.isFinite(number));
}
