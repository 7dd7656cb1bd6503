/** The HTML listing of a folder; every name in it is escaped. Reads the names one by one. */
import { closeSync, constants, lstatSync, opendirSync, openSync } from "node:fs";
import { join } from "node:path";
import { isHiddenName } from "./request-path.js";

/** Further names are not listed: the list is for people, and a folder may have a million names. */
const MAX_LISTED = 10_000;

interface ListedName {
  name: string;
  isFolder: boolean;
}

/** Returns the visible names in a folder, sorted: only files, folders and links. */
export function readListing(folder: string, dotfiles: boolean): { names: ListedName[]; isWhole: boolean } {
  const names: ListedName[] = [];
  let isWhole = true;
  readEntries(folder, (name, kind) => {
    if (kind === "other" || isHiddenName(name, dotfiles)) return true;
    isWhole = names.length < MAX_LISTED;
    if (isWhole) names.push({ name, isFolder: kind === "folder" });
    return isWhole;
  });
  return { names: sorted(names), isWhole };
}

function sorted(names: ListedName[]): ListedName[] {
  return names.sort((a, b) => Number(b.isFolder) - Number(a.isFolder) || (a.name < b.name ? -1 : 1));
}

/** @param title the folder's path for display */
export function listingPage(title: string, names: readonly ListedName[], isRoot: boolean, isWhole: boolean): string {
  const rows = names.map(({ name, isFolder }) => {
    const slash = isFolder ? "/" : "";
    // With `./` in front, because a name with a colon would otherwise be read as a scheme.
    return `<li><a href="./${encodeURIComponent(name)}${slash}">${escapeHtml(name)}${slash}</a></li>`;
  });
  if (!isRoot) rows.unshift('<li><a href="../">../</a></li>');
  if (!isWhole) rows.push(`<li>… and more: only ${MAX_LISTED} names are listed</li>`);
  const heading = `Index of ${escapeHtml(title)}`;
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${heading}</title></head>
<body><h1>${heading}</h1><ul>
${rows.join("\n")}
</ul></body>
</html>
`;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

type EntryKind = "file" | "folder" | "link" | "other";

/** Receives an entry; returns false to stop. `.` and `..` are not passed. */
type TakeEntry = (name: string, kind: EntryKind) => boolean;

interface Kinds {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** The kind of an entry. */
function kindOf(entry: Kinds): EntryKind {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "folder";
  return entry.isSymbolicLink() ? "link" : "other";
}

/** Returns the kind of a name if the file system does not report it with the name. */
function kindAt(folder: string, name: string): EntryKind {
  // BigInt avoids Node issue 51142: after a plain stat of a socket or a pipe, realpathSync and `import` follow no links.
  const stat = lstatSync(join(folder, name), { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? "other" : kindOf(stat);
}

const BLOCK_BYTES = 32_768;

/** `struct linux_dirent64` (getdents64(2)); the name ends with a NUL. */
const LENGTH_AT = 16;
const KIND_AT = 18;
const NAME_AT = 19;

const DT_UNKNOWN = 0;
const KINDS: Readonly<Record<number, EntryKind>> = { 4: "folder", 8: "file", 10: "link" };

type GetEntries = (fd: number, block: Buffer, size: number) => number | bigint;

/** Undefined if the system has no such call, as on macOS; null before the call was looked up. */
let getEntries: GetEntries | undefined | null = null;

/**
 * Reads the names by system call, because Bun's opendir reads all of them at once: 280 MB for a million.
 * @returns false if that is not possible here; nothing was read
 * @throws like `open`
 */
function readEntriesOnBun(folder: string, take: TakeEntry): boolean {
  if (getEntries === null) getEntries = load();
  if (getEntries === undefined) return false;
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    for (;;) {
      const size = Number(getEntries(fd, block, block.length));
      // A negative size is an error, for example of a deleted folder, which has no names.
      if (size <= 0) return true;
      if (!takeAll(folder, block, size, take)) return true;
    }
  } finally {
    closeSync(fd);
  }
}

function takeAll(folder: string, block: Buffer, size: number, take: TakeEntry): boolean {
  for (let at = 0; at < size; at += block.readUInt16LE(at + LENGTH_AT)) {
    const name = block.toString("utf8", at + NAME_AT, block.indexOf(0, at + NAME_AT));
    if (name === "." || name === "..") continue;
    const reported = block[at + KIND_AT] as number;
    const kind = reported === DT_UNKNOWN ? kindAt(folder, name) : (KINDS[reported] ?? "other");
    if (!take(name, kind)) return false;
  }
  return true;
}

function load(): GetEntries | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    // Not imported: Node has no such module.
    const { dlopen } = process.getBuiltinModule("bun:ffi") as unknown as typeof import("bun:ffi");
    return dlopen("libc.so.6", { getdents64: { args: ["int", "ptr", "usize"], returns: "i64" } }).symbols.getdents64;
  } catch {
    // If the C library has another name (musl), all names are read at once instead.
    return undefined;
  }
}

/**
 * Reads the names one by one, only as many as needed: a folder may have millions.
 * @throws like `opendir`
 */
function readEntries(folder: string, take: TakeEntry): void {
  if (process.versions.bun !== undefined && readEntriesOnBun(folder, take)) return;
  const directory = opendirSync(folder);
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      if (!take(entry.name, kindOf(entry))) return;
    }
  } finally {
    directory.closeSync();
  }
}
