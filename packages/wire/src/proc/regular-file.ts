/** Reads a file whose path an operator has named. Never blocks, as on a named pipe, and never holds more than its limit in memory. */
import { fs } from "./bun-memory.js";

/** The device number of /dev/null. */
const NULL_DEVICE = 0x103;

interface ReadLimit {
  maxBytes: number;
  /** Whether only the beginning of a larger file is read. Otherwise it is refused. */
  onlyHead?: boolean;
}

/**
 * Returns the bytes of a regular file, or of /dev/null.
 * @throws the system's error, or one with the code `not-regular` or `too-large`
 */
export function readRegularFile(path: string, { maxBytes, onlyHead = false }: ReadLimit): Buffer {
  const { closeSync, constants, fstatSync, openSync, readSync } = fs();
  // Without O_NONBLOCK, opening a named pipe waits for a writer. With O_NOCTTY, a terminal does not become the controlling one.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = fstatSync(fd);
    if (stat.isCharacterDevice() && stat.rdev === NULL_DEVICE) return Buffer.alloc(0);
    if (!stat.isFile()) throw problem(path, "not-regular", "is not a regular file");
    // The files of /proc have the size 0. One more byte is read to detect that a file has grown.
    const parts: Buffer[] = [];
    let size = 0;
    for (const limit = onlyHead ? maxBytes : maxBytes + 1; size < limit; ) {
      const part = Buffer.allocUnsafe(Math.min(limit - size, Math.max(stat.size + 1 - size, MIN_PART)));
      const count = readSync(fd, part, 0, part.length, null);
      if (count === 0) break;
      parts.push(part.subarray(0, count));
      size += count;
    }
    if (size > maxBytes) throw problem(path, "too-large", `has more than ${maxBytes} bytes`);
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, size);
  } finally {
    closeSync(fd);
  }
}

const MIN_PART = 4096;

function problem(path: string, code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${path} ${message}`), { code });
}
