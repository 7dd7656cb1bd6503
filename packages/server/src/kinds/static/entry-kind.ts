/** What a name in a folder stands for. */
import { lstatSync } from "node:fs";
import { join } from "node:path";

export type EntryKind = "file" | "folder" | "link" | "other";

/** Takes an entry; false when it is the last one that is wanted. `.` and `..` are none. */
export type TakeEntry = (name: string, kind: EntryKind) => boolean;

interface Kinds {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

export function kindOf(entry: Kinds): EntryKind {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "folder";
  return entry.isSymbolicLink() ? "link" : "other";
}

/** Of a name whose kind the file system does not tell beside it. */
export function kindAt(folder: string, name: string): EntryKind {
  // As bigints: Node's realpathSync, and with it `import`, stops following links after a plain stat of a socket or a pipe (Node issue 51142).
  const stat = lstatSync(join(folder, name), { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? "other" : kindOf(stat);
}
