/**
 * Frees the disk space of the part of a file that was read, while others append to it. Uses FALLOC_FL_PUNCH_HOLE of fallocate(2):
 * the system function on Bun, util-linux's program on Node. Works on ext4, xfs, btrfs, tmpfs and overlays on these.
 */
import { spawn } from "node:child_process";

/** A smaller hole is not worth a call; holes cover whole blocks. */
const LEAST_BYTES = 64 << 10;
const BLOCK_BYTES = 4096;

type Punch = (fd: number, from: number, length: number) => void;

let punch: Punch | undefined;
let isPossible = process.platform === "linux";
const giveUp = () => {
  isPossible = false;
};
if (process.versions.bun === undefined) punch = punchByProgram;
else if (isPossible) import("./punch-bun.js").then(({ punchHole }) => (punch = punchHole), giveUp).catch(giveUp);

/** Whether holes work here, as far as known. Without them a file can only be truncated. */
export function canRelease(): boolean {
  return isPossible;
}

/** Frees the bytes between `from` and `to`. Returns the offset up to which they are freed or being freed. */
export function releaseRead(fd: number, from: number, to: number, leastBytes: number): number {
  const length = Math.floor((to - from) / BLOCK_BYTES) * BLOCK_BYTES;
  if (punch === undefined || !isPossible || length < Math.max(LEAST_BYTES, leastBytes)) return from;
  try {
    punch(fd, from, length);
  } catch {
    giveUp();
    return from;
  }
  return from + length;
}

function punchByProgram(fd: number, from: number, length: number): void {
  const args = ["--punch-hole", "--offset", String(from), "--length", String(length), "/proc/self/fd/3"];
  const child = spawn("fallocate", args, { stdio: ["ignore", "ignore", "ignore", fd] });
  child.on("error", giveUp);
  child.on("exit", (code) => code !== 0 && giveUp());
}
