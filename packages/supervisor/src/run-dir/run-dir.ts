/** Opens and releases the directory of a supervisor's sockets, log and output files. */
import { existsSync, lstatSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { lostMarkPath } from "@paceline/wire";
import { removeStaleSocket, socketFileAt } from "@paceline/wire/socket-file";
import { fitsSocketAddress } from "../config/listen-address.js";
import type { FleetConfig, ListenAddress } from "../core/model.js";
import { spanText } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { type FleetFile, readFleetFile, writeFleetFile, writeLastFleetFile } from "./fleet-file.js";
import { type FleetState, readState, removeState, setStateAside } from "./fleet-state.js";
import { endHook } from "./former-hook.js";
import { refuseDuringHandOver } from "./hand-over.js";
import { identify, type RunDirLock, takeLock } from "./lock.js";
import {
  describeLoss,
  endLeftovers,
  endOrphans,
  findOrphans,
  HOW_TO_REPLACE,
  isForeign,
  type Orphan,
} from "./orphans.js";
import { fleetSeenAt, lastingFolderOf, supervisorSeenAt } from "./registry.js";
import { isDiskFull, type RunDirPaths, writeDraft } from "./run-dir-files.js";
import { closeAgain, distrust, HOW_TO_NAME, makePrivate } from "./trust.js";

const CONTROL_SOCKET = "control.sock";
const CHANNEL_SOCKET = "channel.sock";
/** The prefix of folders for sockets whose paths would be too long. Each start creates a new folder, which nobody else can own. */
const SHORT_FOLDER = "/tmp/paceline-";

/** Files that a starting process leaves for the supervisor, named with its pid: a socket, an environment, a configuration. */
const OF_A_STARTER = /^[sef]\d+$/;

/** A run directory that this process has locked. */
export interface RunDir {
  paths: RunDirPaths;
  /** The folder of log files. */
  logFolder: string;
  /** The fleet of a killed supervisor to continue with; undefined if none of its processes is running. */
  adoption: Adoption | undefined;
  /** Warnings about problems that a killed supervisor has left and that were corrected. */
  warnings: readonly string[];
  /**
   * Writes the record of the fleet.
   * @throws PacelineError with the system's code, for example `ENOSPC`; the previous record stays
   */
  describe(
    fleet: Pick<
      FleetFile,
      "source" | "folder" | "release" | "name" | "orphanGraceMs" | "listen" | "options" | "accessLogFile"
    >,
  ): void;
  /**
   * Creates the directory again after somebody removed it, and locks it.
   * @throws PacelineError `running` if another supervisor has it by now; `rundir` if others can write to it
   */
  remake(): void;
  /** Removes the files of this start and releases the lock. Does nothing after `handOver`. */
  release(): void;
  /** Only releases the lock: another supervisor continues with the files. */
  handOver(): void;
}

/** The fleet of a killed supervisor, of which at least one process is still running. */
export interface Adoption {
  state: FleetState;
  /** Processes of the fleet that the state does not name. */
  strangers: Orphan[];
  /** When the killed supervisor was running for the last time, as far as known; 0 if nothing shows it. Unix time. */
  lastSignAt: number;
}

/** Returns the addresses to listen on: a running fleet keeps its addresses and ports. */
export function addressesOf({ listen }: FleetConfig, adoption: Adoption | undefined): ListenAddress[] {
  const { config, ports = [] } = adoption?.state ?? {};
  return (config?.listen ?? listen).map((address, at) =>
    address.kind === "tcp" ? { ...address, port: ports[at] ?? address.port } : address,
  );
}

/** Whether a balancer of an earlier supervisor may have the listening sockets. */
export function hasBalancer(adoption: Adoption | undefined): boolean {
  return adoption?.state.processes.some(({ pool }) => pool === "balancer") ?? false;
}

interface OpenOptions {
  /** The fleet's identity. Only a fleet with the same identity is continued; without an identity, none is. */
  source?: string | undefined;
  /** Stop the processes of a killed supervisor instead of failing. */
  replace?: boolean;
  /** The time limit for `replace`, in milliseconds. Default: the drain timeout of the processes. */
  timeoutMs?: number | undefined;
}

/**
 * Creates and locks the run directory `path`, and removes leftovers of dead supervisors.
 * @throws PacelineError `running` if another supervisor holds the lock; `busy` if two supervisors hand over the fleet; `orphans` if
 * processes of a killed supervisor are running that cannot be continued with; `timeout` if they did not exit in time; `rundir` if others
 * can write to it
 */
export async function openRunDir(
  path: string,
  { replace = false, source, timeoutMs }: OpenOptions = {},
): Promise<RunDir> {
  makeFolder(path);
  refuseDuringHandOver(path);
  const lock = takeLock(path);
  try {
    const found = await settleOrphans(path, replace, source, timeoutMs);
    const kept = found.adoption?.state.folder;
    const closed = kept === undefined ? [] : closeFolders(join(path, kept));
    await removeLeftovers(path, kept);
    return runDirOf(path, lock, found.adoption, [...closed, ...(found.warnings ?? [])]);
  } catch (error) {
    lock.release();
    throw error;
  }
}

function makeFolder(path: string): void {
  makePrivate(path);
  if (existsSync(join(path, ".gitignore"))) return;
  try {
    writeDraft(join(path, ".gitignore"), "*\n");
  } catch (error) {
    // It is a convenience. What a start cannot do without has an error of its own.
    if (!isDiskFull(error)) throw error;
  }
}

/** Closes the folders of a start that is continued, if somebody has opened them to others. Returns a warning for each. */
function closeFolders(own: string): string[] {
  const short = linkedFolder(`${own}.sockets`);
  return [closeAgain(own) ?? [], short === undefined ? [] : (closeAgain(short) ?? [])].flat();
}

function runDirOf(
  path: string,
  taken: RunDirLock,
  adoption: Adoption | undefined,
  warnings: readonly string[],
): RunDir {
  let lock = taken;
  const own = join(path, adoption?.state.folder ?? `run-${lock.number}`);
  makePrivate(own);
  let short = adoption && shortFolderOf(`${own}.sockets`);
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
    historyFolder: join(lastingFolderOf(path, process.env), "history"),
    tlsFolder: join(lastingFolderOf(path, process.env), "tls"),
  };
  let record: FleetFile | undefined;
  let isHandedOver = false;
  return {
    ...{ paths, adoption, warnings },
    logFolder: join(path, "log"),
    describe: (fleet) => {
      const { controlSocket, channelSocket, deathsFolder } = paths;
      const startedAt = record?.startedAt ?? adoption?.state.startedAt ?? Date.now();
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
      writeFleetFile(path, next);
      record = next;
    },
    remake: () => {
      makeFolder(path);
      lock = takeLock(path);
      makePrivate(own);
      if (short !== undefined && !existsSync(`${own}.sockets`)) symlinkSync(short, `${own}.sockets`);
      if (record !== undefined) writeFleetFile(path, record);
    },
    handOver: () => {
      isHandedOver = true;
      lock.release();
    },
    release: () => {
      if (isHandedOver) return;
      removeState(path);
      rmSync(own, { recursive: true, force: true });
      if (short !== undefined) rmSync(short, { recursive: true, force: true });
      rmSync(`${own}.sockets`, { force: true });
      if (record !== undefined) writeLastFleetFile(path, { ...record, endedAt: Date.now() });
      lock.release();
    },
  };
}

/** @param link the path of a link to the folder, by which a later start finds it */
function makeShortFolder(link: string): string {
  let folder: string;
  try {
    folder = mkdtempSync(SHORT_FOLDER);
  } catch (cause) {
    const message = `${dirname(link)} is too long for a socket path, and ${dirname(SHORT_FOLDER)} is not usable: ${(cause as Error).message}`;
    throw new PacelineError("rundir", `${message}; ${HOW_TO_NAME}`, { cause });
  }
  try {
    symlinkSync(folder, link);
  } catch (cause) {
    rmSync(folder, { recursive: true, force: true });
    throw new PacelineError("rundir", `cannot make ${link}: ${(cause as Error).message}; ${HOW_TO_NAME}`, { cause });
  }
  return folder;
}

interface Settled {
  adoption?: Adoption;
  warnings?: string[];
}

/** Says when a fleet of which nothing is running any more has ended, although nobody stopped it. */
function endOfFleet(path: string, channelSocket: string, folder: string): string {
  return `the fleet before this one ended without a stop ${spanText(fleetSeenAt(path, channelSocket, folder), Date.now())}`;
}

/** Decides what happens to the processes of a killed supervisor. */
async function settleOrphans(
  path: string,
  replace: boolean,
  source: string | undefined,
  timeoutMs: number | undefined,
): Promise<Settled> {
  const record = readFleetFile(path);
  const channelSocket = record?.channelSocket ?? join(path, CHANNEL_SOCKET);
  const orphans = findOrphans(channelSocket);
  const { state, problem, isUnreadable = false } = readState(path);
  const found = state?.processes.filter(({ pid, startTime }) => identify(pid)?.startedAt === startTime) ?? [];
  const foreign = new Set(found.filter(({ pid, token }) => isForeign(state?.boot, pid, token, channelSocket)));
  const saved = found.filter((each) => !foreign.has(each));
  if (orphans.length === 0 && saved.length === 0) {
    if (replace) await endHook(path);
    const warnings =
      state !== undefined && record?.endedAt === null ? [endOfFleet(path, channelSocket, state.folder)] : [];
    if (problem !== undefined)
      warnings.push(`${setStateAside(path)}: the state of the last supervisor is not used, because ${problem}`);
    removeState(path);
    // After the supervisor was killed, the last process of its fleet may have been killed, too.
    if (record !== undefined && record.endedAt === null) await endLeftovers(channelSocket);
    return { warnings };
  }
  if (!replace) {
    const isOurs = source !== undefined && record?.source === source;
    if (state !== undefined && isOurs && existsSync(join(path, state.folder))) {
      const known = new Set(saved.map(({ pid }) => pid));
      const processes = state.processes.filter((each) => !foreign.has(each));
      const strangers = orphans.filter(({ pid }) => !known.has(pid));
      return {
        adoption: { state: { ...state, processes }, strangers, lastSignAt: supervisorSeenAt(path, channelSocket) },
      };
    }
    const why =
      problem === undefined
        ? ""
        : `\nits state cannot be used, because ${problem}${isUnreadable ? "" : `: ${setStateAside(path)}`}`;
    throw new PacelineError(
      "orphans",
      `${describeLoss(record, channelSocket, orphans.length)}${why}\n${HOW_TO_REPLACE}`,
    );
  }
  await endHook(path);
  const left = await endOrphans(channelSocket, timeoutMs);
  if (left.length === 0) {
    removeState(path);
    if (record !== undefined) writeLastFleetFile(path, { ...record, endedAt: Date.now() });
    return {};
  }
  const names = left.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
  throw new PacelineError("failed", `processes of the killed supervisor did not exit: ${names}`);
}

/**
 * Removes unused sockets, and the folders of earlier starts that have no used socket. Processes that no supervisor started may still use a
 * socket.
 * @param kept the folder of a start that is continued
 */
async function removeLeftovers(path: string, kept: string | undefined): Promise<void> {
  const channelSocket = join(path, CHANNEL_SOCKET);
  const short = kept === undefined ? undefined : shortFolderOf(join(path, `${kept}.sockets`));
  const controlSockets = [path, short ?? []].flat().map((folder) => join(folder, CONTROL_SOCKET));
  await Promise.all([...controlSockets, channelSocket].map(removeIfDead));
  // If this start fails, the mark is still needed to continue the fleet.
  if (kept === undefined) rmSync(lostMarkPath(channelSocket), { force: true });
  for (const name of readdirSync(path)) {
    const entry = join(path, name);
    if (kept !== undefined && (name === kept || name === `${kept}.sockets`)) continue;
    if (OF_A_STARTER.test(name)) await removeOfDeadStarter(entry);
    if (/^run-\d+$/.test(name)) await removeFolderIfDead(entry, () => rmSync(entry, { recursive: true, force: true }));
    if (!/^run-\d+\.sockets$/.test(name)) continue;
    const short = shortFolderOf(entry);
    if (short !== undefined) await removeFolderIfDead(short, () => rmSync(short, { recursive: true, force: true }));
    if (short === undefined || !existsSync(short)) rmSync(entry, { force: true });
  }
}

/** Returns the folder for sockets that this link leads to; undefined if there is none, or it belongs to another user by now. */
function shortFolderOf(link: string): string | undefined {
  const short = linkedFolder(link);
  return short !== undefined && distrust(short) === undefined ? short : undefined;
}

function linkedFolder(link: string): string | undefined {
  if (!lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink()) return undefined;
  const short = readlinkSync(link);
  return short.startsWith(SHORT_FOLDER) ? short : undefined;
}

async function removeFolderIfDead(folder: string, remove: () => void): Promise<void> {
  const sockets = readdirSync(folder).filter((name) => name.endsWith(".sock"));
  const alive = await Promise.all(sockets.map((name) => removeIfDead(join(folder, name))));
  if (!alive.includes(true)) remove();
}

/**
 * Removes a file that a starting process has left, if that process has exited. Otherwise it may be about to hand the file over, or it may
 * stay in the foreground and listen on the socket.
 */
async function removeOfDeadStarter(path: string): Promise<void> {
  const [kind = "", ...pid] = basename(path);
  const isUsed = kind === "s" ? await removeIfDead(path) : identify(Number(pid.join(""))) !== undefined;
  if (!isUsed) rmSync(path, { force: true });
}

/** Removes the socket at `path` if nobody uses it. Returns whether it is in use. */
async function removeIfDead(path: string): Promise<boolean> {
  const found = await removeStaleSocket(path);
  // In our own directory, nothing else has that name.
  if (found === "other") rmSync(path, { force: true });
  return found === "held";
}

/** Whether a process listens on the socket at `path`. */
export async function isListening(path: string): Promise<boolean> {
  return (await socketFileAt(path)) === "held";
}

/** Returns the path of the control socket of a run directory, even of one without a record. */
export function controlSocketIn(path: string): string {
  return readFleetFile(path)?.controlSocket ?? join(path, CONTROL_SOCKET);
}
