/** The cleanup after a command has ended; loaded lazily, because node:fs alone costs each Bun process 0.6 MB. */
import { closeSync, fstatSync, openSync, readSync, rmSync } from "node:fs";
import type { SocketAddress } from "@paceline/wire";
import {
  commandLineOf,
  endLeftoverProcesses,
  errorLineIn,
  errorLineOf,
  findLeftoverProcesses,
  isOrdinaryLine,
  type Spawn,
} from "@paceline/wire/proc";

export { endLeftoverProcesses };

/** If the program was ready, an error line that is older than this, in milliseconds, does not explain its end. */
const SAID_AT_END_MS = 10_000;

/** Returns one line that explains why a command ended: that it went into the background, or its last error line. */
export function storyOf(
  { program, when, wasReady }: { program: string; when: string; wasReady: boolean },
  code: number | null,
  spawn: Spawn,
): string {
  const [first, ...others] = findLeftoverProcesses(spawn);
  if (first !== undefined && code === 0) {
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    const what = `pid ${first} (${commandLineOf(first)})${more}, which ${others.length === 0 ? "was" : "were"} killed`;
    return `${program} went into the background as ${what}: make it stay in the foreground`;
  }
  const lastLine = errorLineOfOutput(0, wasReady ? SAID_AT_END_MS : Number.POSITIVE_INFINITY, code);
  return `${program} ended ${when}${lastLine === "" ? "" : `: ${lastLine}`}`;
}

/** Removes the socket file, which programs may leave behind. */
export function removeSocket(address: SocketAddress): void {
  if (typeof address === "string") rmSync(address, { force: true });
}

/** Node's stacks at an abort, which follow the program's own line, take several kilobytes. */
const READ_BYTES = 16_384;

const OUTPUT = "/proc/self/fd/2";

/** Returns the size of our output file in bytes; 0 if it cannot be read. */
export function outputSize(): number {
  try {
    return fstatSync(2).size;
  } catch {
    return 0;
  }
}

/**
 * Returns the last error line after this byte; empty if there is none or the output cannot be read.
 * @param forMs the output must have changed within this time, in milliseconds
 * @param code the exit code: of a program that exited with 0, the last line is no error
 */
export function errorLineOfOutput(from = 0, forMs = Number.POSITIVE_INFINITY, code: number | null = null): string {
  let fd: number | undefined;
  try {
    fd = openSync(OUTPUT, "r");
    const { size, mtimeMs } = fstatSync(fd);
    if (Date.now() - mtimeMs > forMs) return "";
    const bytes = Buffer.alloc(Math.max(0, Math.min(READ_BYTES, size - from)));
    readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    const lines = bytes.toString().split("\n");
    const line = code === 0 ? errorLineIn(lines) : errorLineOf(lines);
    return isOrdinaryLine(line) ? "" : line;
  } catch {
    return ""; // There is no /proc.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
