/** The directory of a supervisor's sockets, log and output files: opening and releasing it. */
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { lostMarkPath } from "@paceline/wire";
import { removeStaleSocket, socketFileAt } from "@paceline/wire/socket-file";
import { fitsSocketAddress } from "../config/listen-address.js";
import { PacelineError } from "../errors.js";
import { removeState } from "./fleet-state.js";
import { takeLock } from "./lock.js";
import { describeOrphans, endLeftovers, endOrphans, findOrphans } from "./orphans.js";
import { type FleetRecord, readRecord, writeLastRecord, writeRecord } from "./record.js";
import { lastingFolderOf } from "./registry.js";
import { type RunDirPaths, writeDraft } from "./run-dir-files.js";
import { distrust, HOW_TO_NAME, makePrivate } from "./trust.js";

const CONTROL_SOCKET = "control.sock";
const CHANNEL_SOCKET = "channel.sock";
/** The prefix of folders for sockets with too long paths. Each start creates a new one, which nobody else can own. */
const SHORT_FOLDER = "/tmp/paceline-";

/** What a starting process that was killed leaves for the supervisor: a socket, an environment, a configuration. */
const OF_A_STARTER = /^[sef]\d+$/;

/** A run directory that this process has locked. */
export interface RunDir {
  paths: RunDirPaths;
  /** The folder of log files. */
  logFolder: string;
  /** Writes the record of the fleet. @throws PacelineError such as `ENOSPC`; the previous record stays */
  describe(
    fleet: Pick<FleetRecord, "source" | "folder" | "release" | "name" | "orphanGraceMs" | "listen" | "options">,
  ): void;
  /** Removes the files of this start and releases the lock. */
  release(): void;
}

export interface OpenOptions {
  /** End the processes of a killed supervisor instead of failing. */
  replace?: boolean;
  /** The time limit for that in milliseconds. Default: the drain time of the processes. */
  timeoutMs?: number | undefined;
}

/**
 * Creates and locks the run directory `path`, and removes leftovers of dead supervisors.
 * @throws PacelineError `running` if another supervisor holds it; `orphans` if processes of a killed supervisor still run;
 * `timeout` if they did not end in time; `rundir` if others can write to it
 */
export async function openRunDir(path: string, { replace = false, timeoutMs }: OpenOptions = {}): Promise<RunDir> {
  makePrivate(path);
  if (!existsSync(join(path, ".gitignore"))) writeDraft(join(path, ".gitignore"), "*\n");
  const lock = takeLock(path);
  try {
    await settleOrphans(path, replace, timeoutMs);
    await removeLeftovers(path);
    return runDirOf(path, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

function runDirOf(path: string, lock: ReturnType<typeof takeLock>): RunDir {
  const own = join(path, `run-${lock.number}`);
  makePrivate(own);
  let short: string | undefined;
  const fitting = (file: string) => {
    if (fitsSocketAddress(file)) return file;
    short ??= makeShortFolder(`${own}.sockets`);
    return join(short, basename(file));
  };
  const paths: RunDirPaths = {
    path,
    controlSocket: fitting(join(path, CONTROL_SOCKET)),
    channelSocket: fitting(join(path, CHANNEL_SOCKET)),
    socketPath: (processId) => fitting(join(own, `${processId}.sock`)),
    outputFolder: own,
    outputPath: (processId) => join(own, `${processId}.out`),
    cachePath: (pool, generation) => join(own, `${pool}-${generation}.cache`),
    deathsFolder: join(lastingFolderOf(path, process.env), "deaths"),
  };
  let record: FleetRecord | undefined;
  return {
    paths,
    logFolder: join(path, "log"),
    describe: (fleet) => {
      const { controlSocket, channelSocket, deathsFolder } = paths;
      const startedAt = record?.startedAt ?? Date.now();
      const next = {
        version: 1,
        ...fleet,
        pid: process.pid,
        startedAt,
        endedAt: null,
        controlSocket,
        channelSocket,
        deathsFolder,
      } as const;
      writeRecord(path, next);
      record = next;
    },
    release: () => {
      removeState(path);
      rmSync(own, { recursive: true, force: true });
      if (short !== undefined) rmSync(short, { recursive: true, force: true });
      rmSync(`${own}.sockets`, { force: true });
      if (record !== undefined) writeLastRecord(path, { ...record, endedAt: Date.now() });
      lock.release();
    },
  };
}

/** @param link the path of a link to it, by which a later start finds it */
function makeShortFolder(link: string): string {
  let folder: string;
  try {
    folder = mkdtempSync(SHORT_FOLDER);
  } catch (cause) {
    const message = `${dirname(link)} is too long for a socket path, and ${dirname(SHORT_FOLDER)} is not usable: ${(cause as Error).message}`;
    throw new PacelineError("rundir", `${message}; ${HOW_TO_NAME}`, { cause });
  }
  symlinkSync(folder, link);
  return folder;
}

async function settleOrphans(path: string, replace: boolean, timeoutMs: number | undefined): Promise<void> {
  const record = readRecord(path);
  const link = record?.channelSocket ?? join(path, CHANNEL_SOCKET);
  const orphans = findOrphans(link);
  if (orphans.length === 0) {
    // After a supervisor was killed, its last process may have been killed, too.
    if (record !== undefined && record.endedAt === null) await endLeftovers(link);
    return;
  }
  if (!replace) throw new PacelineError("orphans", describeOrphans(record, link, orphans.length));
  const left = await endOrphans(link, timeoutMs);
  if (left.length === 0) {
    if (record !== undefined) writeLastRecord(path, { ...record, endedAt: Date.now() });
    return;
  }
  const names = left.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
  throw new PacelineError("failed", `processes of the killed supervisor did not exit: ${names}`);
}

/**
 * Removes unused sockets, and the folders of earlier starts that have no used one. Processes not started by a supervisor may
 * still use a socket.
 */
async function removeLeftovers(path: string): Promise<void> {
  const link = join(path, CHANNEL_SOCKET);
  await Promise.all([removeIfDead(join(path, CONTROL_SOCKET)), removeIfDead(link)]);
  rmSync(lostMarkPath(link), { force: true });
  for (const name of readdirSync(path)) {
    const entry = join(path, name);
    if (OF_A_STARTER.test(name)) rmSync(entry, { force: true });
    if (/^run-\d+$/.test(name)) await removeFolderIfDead(entry, () => rmSync(entry, { recursive: true, force: true }));
    if (!/^run-\d+\.sockets$/.test(name)) continue;
    const short = readlinkSync(entry);
    // The folder may belong to someone else by now.
    const isOurs = short.startsWith(SHORT_FOLDER) && distrust(short) === undefined;
    if (isOurs) await removeFolderIfDead(short, () => rmSync(short, { recursive: true, force: true }));
    if (distrust(short)?.code === "missing" || !isOurs) rmSync(entry, { force: true });
  }
}

async function removeFolderIfDead(folder: string, remove: () => void): Promise<void> {
  const sockets = readdirSync(folder).filter((name) => name.endsWith(".sock"));
  const alive = await Promise.all(sockets.map((name) => removeIfDead(join(folder, name))));
  if (!alive.includes(true)) remove();
}

/** Removes the socket at `path` if nobody uses it. Returns whether it is in use. */
async function removeIfDead(path: string): Promise<boolean> {
  const found = await removeStaleSocket(path);
  // In our own directory nothing else has that name.
  if (found === "other") rmSync(path, { force: true });
  return found === "held";
}

/** Whether a process listens on the socket at `path`. */
export async function isListening(path: string): Promise<boolean> {
  return (await socketFileAt(path)) === "held";
}

/** Returns the control socket of a run directory, also of one without a record. */
export function controlSocketIn(path: string): string {
  return readRecord(path)?.controlSocket ?? join(path, CONTROL_SOCKET);
}
