/** What is to be done when a command has ended; loaded then, since node:fs alone costs every process on Bun 0.6 MB. */
import { closeSync, fstatSync, openSync, readSync, rmSync } from "node:fs";
import type { SocketAddress } from "@paceline/wire";
import {
  commandLineOf,
  endLeftoverProcesses,
  errorLineOf,
  findLeftoverProcesses,
  type Spawn,
} from "@paceline/wire/proc";

export { endLeftoverProcesses };

/** What is to be told of a command that ended by itself, beside its status. */
export function storyOf(program: string, when: string, code: number | null, spawn: Spawn): string {
  const [first, ...others] = findLeftoverProcesses(spawn);
  if (first !== undefined && code === 0) {
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    const what = `pid ${first} (${commandLineOf(first)})${more}`;
    return `${program} went into the background as ${what}, which was killed: make it stay in the foreground`;
  }
  const lastLine = errorLineOfOutput();
  return `${program} ended ${when}${lastLine === "" ? "" : `: ${lastLine}`}`;
}

/** Programs leave the file of their socket, or not. */
export function removeSocket(address: SocketAddress): void {
  if (typeof address === "string") rmSync(address, { force: true });
}

const READ_BYTES = 4096;

/** Empty where it wrote nothing, or where what it wrote cannot be read. */
export function errorLineOfOutput(path = "/proc/self/fd/2"): string {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(READ_BYTES, size));
    readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    return errorLineOf(bytes.toString().split("\n"));
  } catch {
    return ""; // No /proc.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
