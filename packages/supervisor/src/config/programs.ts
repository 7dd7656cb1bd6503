/** Finds the file that a program's name means, as a shell would. */
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join, resolve } from "node:path";

/**
 * The absolute path of a program.
 * @param cwd from where a name with a slash in it is taken
 * @param searchPath PATH
 */
export function findProgram(name: string, cwd: string, searchPath: string): string | { problem: string } {
  if (name.includes("/")) {
    const path = resolve(cwd, name);
    // A link to the program itself stays: an interpreter of a virtual environment goes by the path it was started with.
    return isExecutable(path) ? join(realpathSync(dirname(path)), basename(path)) : { problem: whyNot(path) };
  }
  const folders = searchPath.split(delimiter).filter((folder) => folder !== "");
  const found = folders.map((folder) => resolve(cwd, join(folder, name))).find(isExecutable);
  return found ?? { problem: `there is no program ${JSON.stringify(name)} on PATH (${searchPath})` };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function whyNot(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return `there is no such file: ${path}`;
  return stat.isFile() ? `may not be executed: ${path} (chmod +x)` : `is no program: ${path}`;
}
