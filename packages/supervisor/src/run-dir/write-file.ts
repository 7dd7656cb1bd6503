/** Writes the small files of a run directory: whole or not at all. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { PacelineError } from "../errors.js";

/** Replaces the file at `path`; whoever reads it sees the old text or the new one. @throws PacelineError as `writeDraft` does */
export function replaceFile(path: string, text: string): void {
  const draft = `${path}.${process.pid}`;
  writeDraft(draft, text, path);
  renameSync(draft, path);
}

/**
 * Writes a file for this user alone, and leaves nothing behind when there is no room for it.
 * @param meant the file that the error names
 * @throws PacelineError with the system's code, such as `ENOSPC`
 */
export function writeDraft(path: string, text: string, meant = path): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    rmSync(path, { force: true });
    const { code = "rundir", message } = cause as NodeJS.ErrnoException;
    // The system names no file when a write fails.
    throw new PacelineError(code, `${meant} cannot be written: ${message.replace(/, (open|write)\b.*/, "")}`, {
      cause,
    });
  }
}
