/** The last line that the command wrote, for the one line in which its end is told. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const READ_BYTES = 4096;
const MAX_LENGTH = 300;

/** Empty where it wrote nothing, or where what it wrote cannot be read. */
export function lastLineOfOutput(path = "/proc/self/fd/2"): string {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(READ_BYTES, size));
    readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    return lastLineOf(bytes.toString());
  } catch {
    return ""; // No /proc, or the supervisor has just cut the file.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The last line that is more than blank. */
export function lastLineOf(text: string): string {
  const line = text.trimEnd().split("\n").at(-1)?.trim() ?? "";
  return line.length > MAX_LENGTH ? `${line.slice(0, MAX_LENGTH)}…` : line;
}
