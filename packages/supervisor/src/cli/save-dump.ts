/** Puts a dump where the user wants it: into a new file that only this user can read, or nowhere. */
import { constants, copyFileSync, renameSync, rmSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { PacelineError } from "../errors.js";
import { reasonOf, writeWhole } from "../run-dir/run-dir-files.js";

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
    if (statSync(file, { throwIfNoEntry: false }) !== undefined) throw Object.assign(new Error(), { code: "EEXIST" });
    if (!tryMove(from, file)) writeWhole(file, (draft) => copyFileSync(from, draft, constants.COPYFILE_EXCL));
  } catch (error) {
    throw problemOf(file, error);
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
    writeWhole(file, text, { mode: 0o600 });
  } catch (error) {
    throw problemOf(file, error);
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

function problemOf(file: string, cause: unknown): PacelineError {
  const { code = "failed" } = cause as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    EEXIST: "it exists already",
    ENOSPC: "the disk is full",
    EACCES: "permission denied",
    ENOENT: "its folder does not exist",
  };
  return new PacelineError(code, `${file} cannot be written: ${reasons[code] ?? reasonOf(cause)}`, { cause });
}
