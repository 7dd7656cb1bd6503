/** Says why a program could not be started: of a working directory that is gone the system says that the program is. */
import { statSync } from "node:fs";

export function spawnProblem(error: Error, command: string, cwd: string): string {
  if (!statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) return `its working directory is gone: ${cwd}`;
  const isGone = command.startsWith("/") && statSync(command, { throwIfNoEntry: false }) === undefined;
  return isGone ? `its program is gone: ${command}` : error.message;
}
