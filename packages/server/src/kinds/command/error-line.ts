/** The line in which the command said why it failed, for the one line in which its end is told. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { errorLineOf } from "@paceline/wire/proc";

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
