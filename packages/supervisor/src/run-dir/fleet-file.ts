/** `fleet.json` in a run directory: describes its fleet to every program that finds the directory. */
import { closeSync, constants, existsSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { attempt } from "@paceline/wire/proc";
import { shellWord } from "../core/words.js";
import { replaceFile } from "./run-dir-files.js";

export interface FleetFile {
  version: 1;
  /** The fleet's identity; see FleetIdentity. */
  source: string;
  folder: string;
  /** The folder that the config was last read from, with symbolic links resolved. */
  release: string;
  name: string;
  /** The supervisor's pid. All times are Unix times in milliseconds. */
  pid: number;
  startedAt: number;
  /** Null while the supervisor runs, and after it was killed. */
  endedAt: number | null;
  orphanGraceMs: number;
  /** The addresses it listens on, and the run options of its start, as texts to compare. Missing in records of earlier versions. */
  listen?: string[];
  options?: Record<string, string>;
  controlSocket: string;
  channelSocket: string;
  /** The folder of death reports. Missing in records of earlier versions. */
  deathsFolder?: string;
  /** The file of the access log. Missing if there is none, and in records of earlier versions. */
  accessLogFile?: string | undefined;
}

/** The names of two options in a record. */
export const PROGRAM_OPTION = "the program after --";
export const ARGUMENTS_OPTION = "the arguments after --";
/** The options that name what is started, if neither a config nor an app file does. */
const OF_CONTENT = ["--static", "--proxy", "--fapws", "--wsgi", "--asgi", PROGRAM_OPTION];

/** Returns the command that starts the fleet of a record, from its folder; undefined if an option is too long for the record. */
export function startCommandOf({ options = {} }: Pick<FleetFile, "options">): string | undefined {
  const words = ["paceline", "start"];
  if (!OF_CONTENT.some((option) => options[option] !== undefined)) return words.join(" ");
  const after: string[] = [];
  for (const [option, text] of Object.entries(options)) {
    const value = attempt(() => JSON.parse(text) as unknown);
    if (option === PROGRAM_OPTION || option === ARGUMENTS_OPTION) {
      if (!Array.isArray(value)) return undefined;
      after.push(...value.map(String));
    } else if (value === true) words.push(option);
    else if (typeof value === "string") words.push(option, shellWord(value));
    else return undefined;
  }
  return [...words, ...(after.length === 0 ? [] : ["--", ...after.map(shellWord)])].join(" ");
}

const NAME = "fleet.json";
const MAX_BYTES = 64 << 10;

/**
 * Atomically replaces the record in the run directory `path`.
 * @throws PacelineError with the system's code, for example `ENOSPC`
 */
export function writeFleetFile(path: string, record: FleetFile): void {
  replaceFile(join(path, NAME), textOf(record));
}

/** Writes the last record of a stopped fleet. If the disk is full, it overwrites the old record, or else removes it. */
export function writeLastFleetFile(path: string, record: FleetFile): void {
  try {
    writeFleetFile(path, record);
  } catch {
    if (!overwrite(join(path, NAME), textOf(record))) rmSync(join(path, NAME), { force: true });
  }
}

/** Overwrites the file in place. Returns whether the text fits into the file's present size. */
function overwrite(file: string, text: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(file, constants.O_WRONLY | constants.O_NOFOLLOW);
    const length = writeSync(fd, text, 0);
    ftruncateSync(fd, length);
    return length === Buffer.byteLength(text);
  } catch {
    return false; // The caller removes the file.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function textOf(record: FleetFile): string {
  return `${JSON.stringify(record, null, 2)}\n`;
}

/** Whether there is a record, even one that this version cannot read. */
export function hasFleetFile(path: string): boolean {
  return existsSync(join(path, NAME));
}

/** Returns the record in the run directory `path`; undefined if there is none that this version can read. */
export function readFleetFile(path: string): FleetFile | undefined {
  let fd: number;
  try {
    fd = openSync(join(path, NAME), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined; // Missing or unreadable.
  }
  try {
    const buffer = Buffer.allocUnsafe(MAX_BYTES);
    const length = readSync(fd, buffer, 0, MAX_BYTES, 0);
    const record = JSON.parse(buffer.toString("utf8", 0, length)) as FleetFile;
    return isRecord(record) ? record : undefined;
  } catch {
    return undefined; // For example cut off because the disk was full.
  } finally {
    closeSync(fd);
  }
}

function isRecord(value: Partial<FleetFile> | null): value is FleetFile {
  if (value?.version !== 1) return false;
  const texts = [value.source, value.folder, value.release, value.name, value.controlSocket, value.channelSocket];
  const numbers = [value.pid, value.startedAt, value.orphanGraceMs];
  return texts.every((text) => typeof text === "string") && numbers.every((number) => Number.isFinite(number));
}
