/** `fleet.json` in a run directory: what the fleet there is, for whoever finds it. */
import { closeSync, constants, openSync, readSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

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
  linkSocket: string;
}

const NAME = "fleet.json";
const MAX_BYTES = 64 << 10;

/** Replaces the record in the run directory `path`, so that whoever reads it sees all of one. */
export function writeRecord(path: string, record: FleetRecord): void {
  const draft = join(path, `${NAME}.${process.pid}`);
  writeFileSync(draft, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, join(path, NAME));
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
  const texts = [value.source, value.folder, value.release, value.name, value.controlSocket, value.linkSocket];
  const numbers = [value.pid, value.startedAt, value.orphanGraceMs];
  return texts.every((text) => typeof text === "string") && numbers.every((number) => Number.isFinite(number));
}
