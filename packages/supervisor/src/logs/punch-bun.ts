/** fallocate(2) on Bun: punches a hole into a file, so that this part takes no disk space. */
import { dlopen, FFIType } from "bun:ffi";
import { arch } from "node:os";

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

const { fallocate } = open();

function open() {
  const musl = { x64: "libc.musl-x86_64.so.1", arm64: "libc.musl-aarch64.so.1" }[arch() as "x64" | "arm64"];
  let cause: unknown;
  for (const name of ["libc.so.6", ...(musl === undefined ? [] : [musl])]) {
    try {
      const { i32, i64 } = FFIType;
      return dlopen(name, { fallocate: { args: [i32, i32, i64, i64], returns: i32 } }).symbols;
    } catch (error) {
      cause = error;
    }
  }
  throw cause;
}

/** @throws if the file system does not support holes */
export function punchHole(fd: number, from: number, length: number): void {
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, length) !== 0) {
    throw new Error("no hole can be made in this file");
  }
}
