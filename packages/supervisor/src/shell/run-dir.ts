/** The directory in which one supervisor keeps its sockets, its log and its children's output: where it is, and how it is taken. */
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, readdirSync, realpathSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { PacelineError } from "../errors.js";
import { fitsSocketAddress, MAX_SOCKET_PATH_BYTES } from "../socket-path.js";
import { takeLock } from "./run-dir-lock.js";
import type { RunDirPaths } from "./run-dir-paths.js";

/** The longest name of a process's socket, such as `web.1024#99999.sock` with a pool's name of 32 characters. */
const SOCKET_NAME_BYTES = 50;
const CONTROL_SOCKET = "control.sock";

/** A run directory that this process holds. */
export interface RunDir {
  paths: RunDirPaths;
  /** The folder in which the log is kept. */
  logFolder: string;
  /** Removes what belongs to this start and lets others have the directory. */
  release(): void;
}

/**
 * The run directories that a fleet started in `baseDir` may have: the first is the one to take. It is `.paceline`
 * there, or, where the control socket's path would be too long for a socket address, a short path made from a hash.
 */
export function runDirCandidates(baseDir: string, environment: NodeJS.ProcessEnv = process.env): string[] {
  const base = realpathSync(resolve(baseDir));
  const beside = join(base, ".paceline");
  if (fitsSocketAddress(join(beside, CONTROL_SOCKET))) return [beside];
  // The caller of a client may have another XDG_RUNTIME_DIR than the supervisor had, so that both are looked at.
  return shortFolders(environment).map((folder) => join(folder, hashOf(base)));
}

/** The path of the control socket in the run directory `path`. */
export function controlSocketIn(path: string): string {
  return join(path, CONTROL_SOCKET);
}

/**
 * Makes and takes the run directory `path`, and removes what dead supervisors left in it.
 * @throws PacelineError `running` when another supervisor holds it; `rundir` when it is not ours alone or its path is too long
 */
export async function openRunDir(path: string): Promise<RunDir> {
  const controlSocket = controlSocketIn(path);
  if (!fitsSocketAddress(controlSocket)) {
    const most = MAX_SOCKET_PATH_BYTES - CONTROL_SOCKET.length - 1;
    throw new PacelineError("rundir", `the path of the run directory is longer than ${most} bytes: ${path}`);
  }
  makePrivate(path);
  writeFileSync(join(path, ".gitignore"), "*\n");
  const lock = takeLock(path);
  const own = `run-${lock.number}`;
  const outputs = join(path, own);
  const sockets = fitsSocketAddress(join(outputs, "x".repeat(SOCKET_NAME_BYTES)))
    ? outputs
    : join(shortFolder(), hashOf(realpathSync(path)), own);
  await removeLeftovers(path);
  if (sockets !== outputs) {
    makePrivate(join(sockets, ".."));
    await removeLeftovers(join(sockets, ".."));
  }
  makePrivate(outputs);
  makePrivate(sockets);
  return {
    paths: {
      path,
      controlSocket,
      linkSocket: join(path, "link.sock"),
      socketPath: (processId) => join(sockets, `${processId}.sock`),
      outputPath: (processId) => join(outputs, `${processId}.out`),
    },
    logFolder: join(path, "log"),
    release: () => {
      rmSync(outputs, { recursive: true, force: true });
      rmSync(sockets, { recursive: true, force: true });
      if (sockets !== outputs) removeIfEmpty(join(sockets, ".."));
      lock.release();
    },
  };
}

/** Makes `path` a directory that is ours and closed to others; its parents too where they are ours to make. @throws PacelineError `rundir` */
export function makePrivate(path: string): void {
  const parent = join(path, "..");
  if (shortFolders(process.env).includes(parent)) makePrivate(parent);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const stat = lstatSync(path);
  const uid = process.getuid?.();
  if (!stat.isDirectory() || (uid !== undefined && stat.uid !== uid)) {
    throw new PacelineError("rundir", `${path} is not a directory of our own`);
  }
  if ((stat.mode & 0o077) === 0) return;
  const content = readdirSync(path);
  if (content.length > 0 && !content.some((name) => name.startsWith("lock."))) {
    // Such as /tmp: closing it to others would take it from them.
    throw new PacelineError("rundir", `${path} is open to others and holds other things; name a directory of its own`);
  }
  chmodSync(path, 0o700);
}

/**
 * Removes sockets on which nobody listens, and the directories of earlier starts that have no other. Processes of a
 * supervisor that was killed may still serve on theirs.
 */
async function removeLeftovers(path: string): Promise<void> {
  await Promise.all(["control.sock", "link.sock"].map((name) => removeIfDead(join(path, name))));
  const earlier = readdirSync(path).filter((name) => /^run-\d+$/.test(name));
  for (const folder of earlier.map((name) => join(path, name))) {
    const sockets = readdirSync(folder).filter((name) => name.endsWith(".sock"));
    const alive = await Promise.all(sockets.map((name) => removeIfDead(join(folder, name))));
    if (!alive.includes(true)) rmSync(folder, { recursive: true, force: true });
  }
}

function removeIfEmpty(folder: string): void {
  // Orphans of an earlier start may still serve in it.
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}

/** Whether somebody listens on the socket at `path`; if nobody does, it is removed. */
async function removeIfDead(path: string): Promise<boolean> {
  const alive = await isListening(path);
  if (!alive) rmSync(path, { force: true });
  return alive;
}

function isListening(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path);
    const end = (alive: boolean) => {
      socket.destroy();
      done(alive);
    };
    socket.setTimeout(2_000, () => end(true));
    socket.on("connect", () => end(true));
    // EAGAIN is a listener whose backlog is full.
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code === "EAGAIN"));
  });
}

function shortFolder(): string {
  return shortFolders(process.env)[0] as string;
}

function shortFolders(environment: NodeJS.ProcessEnv): string[] {
  const xdg = environment.XDG_RUNTIME_DIR;
  const common = `/tmp/paceline-${process.getuid?.() ?? "user"}`;
  if (xdg === undefined || !xdg.startsWith("/")) return [common];
  return lstatSync(xdg, { throwIfNoEntry: false })?.isDirectory() ? [join(xdg, "paceline"), common] : [common];
}

function hashOf(path: string): string {
  return createHash("sha256").update(path).digest("hex").slice(0, 12);
}
