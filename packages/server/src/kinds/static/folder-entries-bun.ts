/** Reads a folder's names with the system call itself: Bun's opendir reads all of them at once, 280 MB for a million. */
import { closeSync, constants, openSync } from "node:fs";
import { type EntryKind, kindAt, type TakeEntry } from "./entry-kind.js";

const BLOCK_BYTES = 32_768;

/** `struct linux_dirent64` (getdents64(2)); the name ends with a NUL. */
const LENGTH_AT = 16;
const KIND_AT = 18;
const NAME_AT = 19;

const DT_UNKNOWN = 0;
const KINDS: Readonly<Record<number, EntryKind>> = { 4: "folder", 8: "file", 10: "link" };

type GetEntries = (fd: number, block: Buffer, size: number) => number | bigint;

/** Undefined where there is no such call, as on macOS; null before the first look. */
let getEntries: GetEntries | undefined | null = null;

/** @returns false when this way is not open here, and nothing has been read. @throws as `open` */
export function readEntriesOnBun(folder: string, take: TakeEntry): boolean {
  if (getEntries === null) getEntries = load();
  if (getEntries === undefined) return false;
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    for (;;) {
      const size = Number(getEntries(fd, block, block.length));
      // Less than 0 is an error, for one that the folder is deleted: then it has no names any more.
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
    const told = block[at + KIND_AT] as number;
    const kind = told === DT_UNKNOWN ? kindAt(folder, name) : (KINDS[told] ?? "other");
    if (!take(name, kind)) return false;
  }
  return true;
}

function load(): GetEntries | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    // Not imported: on Node there is no such module.
    const { dlopen } = process.getBuiltinModule("bun:ffi") as unknown as typeof import("bun:ffi");
    return dlopen("libc.so.6", { getdents64: { args: ["int", "ptr", "usize"], returns: "i64" } }).symbols.getdents64;
  } catch {
    // A libc of another name (musl): then all names are read at once.
    return undefined;
  }
}
