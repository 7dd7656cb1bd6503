/** Makes the paths in a configuration absolute, follows symbolic links, and sees whether something is there. */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { APP_FILE_NAMES, findApp, kindOf, whyNoApp } from "./find.js";

/** The app module that `path` means: the file, or the app in that folder. */
export function resolveApp(path: string, baseDir: string): string | { problem: string } {
  const absolute = resolve(baseDir, path);
  switch (kindOf(absolute)) {
    case "file": {
      const problem = whyNoApp(absolute);
      return problem === undefined ? realpathSync(absolute) : { problem: `${absolute} ${problem}` };
    }
    case "folder": {
      const app = findApp(absolute);
      if (app !== undefined) return realpathSync(app);
      return { problem: `the folder ${absolute} has no app (${APP_FILE_NAMES.join(", ")})` };
    }
    case "nothing":
      return { problem: `there is no such file: ${absolute}` };
  }
}

/** The folder that `path` means, if there is one. */
export function resolveFolder(path: string, baseDir: string): string | undefined {
  const absolute = resolve(baseDir, path);
  return kindOf(absolute) === "folder" ? realpathSync(absolute) : undefined;
}

/** Whether what an app of Python is named by is a file, and not a module. */
export function isPythonFile(place: string): boolean {
  return place.includes("/") || place.endsWith(".py");
}

/** The file that `path` means, if there is one. */
export function resolveFile(path: string, baseDir: string): string | undefined {
  const absolute = resolve(baseDir, path);
  return kindOf(absolute) === "file" ? realpathSync(absolute) : undefined;
}
