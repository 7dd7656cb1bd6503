/** The folder that is to be served. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { ServerError } from "../../shared/errors.js";

/** Its absolute path. @throws ServerError `static-unusable` when there is no such folder. */
export function checkedRoot(root: string): string {
  const path = resolve(root);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  throw new ServerError("static-unusable", `there is no folder ${path}`);
}
