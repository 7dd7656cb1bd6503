/** Passes the loaded configuration from the starting command to the supervisor, which saves 0.1 s on every start. */
import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { LoadedFleet } from "../config/load.js";
import { PacelineError } from "../errors.js";

/**
 * Writes `fleet` to an unlinked file in the run directory for the supervisor to inherit. Nothing remains of the file, whichever
 * process dies.
 * @throws PacelineError `rundir`
 */
export function writeHandover(runDirPath: string, fleet: LoadedFleet): number {
  const path = join(runDirPath, `start-${process.pid}.json`);
  let fd: number | undefined;
  try {
    fd = openSync(path, "wx+", 0o600);
    const bytes = Buffer.from(JSON.stringify(fleet));
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    return fd;
  } catch (cause) {
    if (fd !== undefined) closeSync(fd);
    throw new PacelineError("rundir", `cannot write in ${runDirPath}: ${(cause as Error).message}`, {
      cause,
    });
  } finally {
    rmSync(path, { force: true });
  }
}

/** Reads the handed-over fleet and closes the descriptor. */
export function readHandover(fd: number): LoadedFleet {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  for (let read = 0; read < bytes.length; ) {
    const length = readSync(fd, bytes, read, bytes.length - read, read);
    if (length === 0) throw new Error("the starter has handed over less than it said");
    read += length;
  }
  closeSync(fd);
  return JSON.parse(bytes.toString()) as LoadedFleet;
}
