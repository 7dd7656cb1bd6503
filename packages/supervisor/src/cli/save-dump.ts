/** Puts a dump where the user wants it: into a new file that only this user can read, or nowhere. */
import { constants, copyFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { PacelineError } from "../errors.js";

const HOW_TO_OPEN: Record<string, string> = {
  heapsnapshot: "; the memory tab of Chrome's developer tools opens it",
  cpuprofile: "; the performance tab of Chrome's developer tools opens it",
};

/** Moves a dump of the supervisor to a new file, by default in this folder. Returns its path and a message. */
export function takeDump(
  target: string,
  details: Record<string, unknown>,
  name?: string,
): { file: string; message: string } {
  const { path = "", extension = "dump" } = details as { path?: string; extension?: string };
  const file = saveDump(path, name ?? nameOf(target, extension));
  return { file, message: `${file} is written${HOW_TO_OPEN[extension] ?? ""}` };
}

function nameOf(target: string, extension: string): string {
  const at = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  return `${target.replace(/[^\w.-]/g, "_")}-${at}.${extension}`;
}

/**
 * Moves the file to a new one.
 * @throws PacelineError such as `ENOSPC` or `EEXIST`; no part of the new file remains then
 */
function saveDump(from: string, name: string): string {
  const file = resolve(name);
  try {
    if (statSync(file, { throwIfNoEntry: false }) !== undefined) throw problemOf(file, "EEXIST");
    if (!tryMove(from, file)) copyFileSync(from, file, constants.COPYFILE_EXCL);
  } catch (error) {
    throw failed(error, file);
  } finally {
    rmSync(from, { force: true });
  }
  return file;
}

/**
 * Writes text into a new file.
 * @throws PacelineError like `saveDump`
 */
export function saveText(text: string, name: string): string {
  const file = resolve(name);
  try {
    writeFileSync(file, text, { mode: 0o600, flag: "wx" });
  } catch (error) {
    throw failed(error, file);
  }
  return file;
}

/** A file on another file system, or of another user, must be copied. */
function tryMove(from: string, to: string): boolean {
  if (statSync(from).uid !== process.getuid?.()) return false;
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EXDEV") return false;
    throw error;
  }
}

function failed(error: unknown, file: string): PacelineError {
  const { code = "failed" } = error as NodeJS.ErrnoException;
  // An incomplete file is useless, and would keep the disk full.
  if (code === "ENOSPC" || code === "EDQUOT") rmSync(file, { force: true });
  return problemOf(file, code, error);
}

function problemOf(file: string, code: string, cause?: unknown): PacelineError {
  const why = { EEXIST: "it exists already", ENOSPC: "the disk is full", EACCES: "permission denied" }[code];
  return new PacelineError(code, `${file} cannot be written: ${why ?? (cause as Error | undefined)?.message ?? code}`);
}
