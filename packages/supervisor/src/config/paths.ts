/** Resolves paths in a configuration: makes them absolute, follows links, checks that they exist, and finds programs on PATH. */
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join, resolve } from "node:path";
import { APP_FILE_NAMES, entryKindOf, findApp, NOT_A_FILE, whyNoApp } from "./find.js";

/** Returns the app module at `path`: the file itself, or the app in the folder. */
export function resolveApp(path: string, baseDir: string): string | { problem: string } {
  const absolute = resolve(baseDir, path);
  switch (entryKindOf(absolute)) {
    case "file": {
      const problem = whyNoApp(absolute);
      return problem === undefined ? realpathSync(absolute) : { problem: `${absolute} ${problem}` };
    }
    case "folder": {
      const app = findApp(absolute);
      if (app !== undefined) return realpathSync(app);
      return { problem: `the folder ${absolute} has no app (${APP_FILE_NAMES.join(", ")})` };
    }
    case "other":
      return { problem: `${absolute} ${NOT_A_FILE}` };
    case "nothing":
      return { problem: `there is no such file: ${absolute}` };
  }
}

/** Returns the absolute path of an existing folder; undefined if there is none. */
export function resolveFolder(path: string, baseDir: string): string | undefined {
  const absolute = resolve(baseDir, path);
  return entryKindOf(absolute) === "folder" ? realpathSync(absolute) : undefined;
}

/** Returns which permission for a folder of files this user lacks; undefined if the folder can be served. */
export function whyClosed(folder: string, isListed = false): string | undefined {
  const { R_OK, X_OK } = constants;
  try {
    accessSync(folder, isListed ? R_OK | X_OK : X_OK);
    return undefined;
  } catch {
    return `this user (uid ${process.geteuid?.()}) may not ${isListed ? "list" : "open"} the files in ${folder}`;
  }
}

/** Whether a Python app is named by a file rather than a module. */
export function isPythonFile(place: string): boolean {
  return place.includes("/") || place.endsWith(".py");
}

/** Returns the absolute path of an existing file; undefined if there is none. */
export function resolveFile(path: string, baseDir: string): string | undefined {
  const absolute = resolve(baseDir, path);
  return entryKindOf(absolute) === "file" ? realpathSync(absolute) : undefined;
}

/**
 * Returns the absolute path of a program.
 * @param cwd the folder for names that contain a slash
 * @param searchPath PATH
 */
export function findProgram(name: string, cwd: string, searchPath: string): string | { problem: string } {
  if (name.includes("/")) {
    const path = resolve(cwd, name);
    // A link to the program itself is kept, because an interpreter finds its virtual environment by the path with which it was started.
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
  return stat.isFile() ? `is not executable: ${path} (chmod +x)` : `is not a program: ${path}`;
}
