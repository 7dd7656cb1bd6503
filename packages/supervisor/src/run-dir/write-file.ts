/** Writes the small files of a run directory atomically. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { PacelineError } from "../errors.js";

/** Replaces the file at `path`; readers see either the old or the new text. @throws PacelineError like `writeDraft` */
export function replaceFile(path: string, text: string): void {
  const draft = `${path}.${process.pid}`;
  writeDraft(draft, text, path);
  renameSync(draft, path);
}

/**
 * Writes a file that only this user can read, or leaves nothing behind on failure.
 * @param meant the file that the error names
 * @throws PacelineError with the system's code, such as `ENOSPC`
 */
export function writeDraft(path: string, text: string, meant = path): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    rmSync(path, { force: true });
    const { code = "rundir", message } = cause as NodeJS.ErrnoException;
    // The system's message for a failed write names no file.
    throw new PacelineError(code, `${meant} cannot be written: ${message.replace(/, (open|write)\b.*/, "")}`, {
      cause,
    });
  }
}
