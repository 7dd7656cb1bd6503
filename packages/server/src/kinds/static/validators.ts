/** The validators of a file: a strong ETag, and Last-Modified (RFC 9110 §8.8). Pure. */

import { opaqueTag } from "./opaque-tag.js";

/** What one `fstat` tells of a file. */
export interface FileFacts {
  size: number;
  mtimeMs: number;
  ctimeMs: number;
  ino: number;
  dev: number;
}

export interface Validators {
  /** With its quotes, and `W/` before them where it is weak. */
  etag: string;
  isStrong: boolean;
  /** In whole seconds, as HTTP has it. */
  lastModifiedMs: number;
  lastModified: string;
}

/** A file system that keeps fractions of a second stamps with the kernel's clock, which ticks every 1 to 10 ms. */
const FINE_TICK_MS = 50;
/** One that keeps whole seconds, or every second one. */
const COARSE_TICK_MS = 2500;

/**
 * The tag is made of inode, size and the time of the last change of the inode. Unlike the time of modification, which
 * nginx takes in whole seconds, that one moves with every write and no program can set it, so equal tags mean equal bytes
 * (§8.8.1), also in images whose files all have one date. What the stamps cannot tell is a second change within one tick
 * of the clock: until a tick has gone by since the last change, the tag is weak. It is a hash, lest it tell inodes.
 */
export function validatorsOf(facts: FileFacts, nowMs: number, coding = ""): Validators {
  const { size, mtimeMs, ctimeMs, ino } = facts;
  const isStrong = isSettled(facts, nowMs);
  const opaque = opaqueTag([ino, size, Math.round(ctimeMs * 1000)]);
  const lastModifiedMs = Math.floor(Math.min(mtimeMs, nowMs) / 1000) * 1000;
  return {
    etag: `${isStrong ? "" : "W/"}"${opaque}${coding === "" ? "" : `-${coding}`}"`,
    isStrong,
    lastModifiedMs,
    lastModified: new Date(lastModifiedMs).toUTCString(),
  };
}

/** Whether any further change would have another time than the last one. */
export function isSettled({ ctimeMs }: FileFacts, nowMs: number): boolean {
  const tickMs = ctimeMs % 1000 === 0 ? COARSE_TICK_MS : FINE_TICK_MS;
  return nowMs - ctimeMs > tickMs;
}

/** Whether these are the same bytes, given that the first were settled when they were read. */
export function isSameFile(before: FileFacts, now: FileFacts): boolean {
  return (
    before.ctimeMs === now.ctimeMs &&
    before.size === now.size &&
    before.ino === now.ino &&
    before.mtimeMs === now.mtimeMs &&
    before.dev === now.dev
  );
}
