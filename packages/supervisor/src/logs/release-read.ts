/**
 * Gives back the disk space of the part of a file that was read, while others append to it: FALLOC_FL_PUNCH_HOLE of
 * fallocate(2), by the system's own function on Bun and by util-linux's program on Node. ext4, xfs, btrfs, tmpfs and
 * overlays on these have it.
 */
import { spawn } from "node:child_process";

/** Less than this at once is not worth a call; a hole has to cover whole blocks. */
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

/** Whether it works here, as far as was seen. Where it does not, a file can only be emptied. */
export function canRelease(): boolean {
  return isPossible;
}

/** Frees what lies between `from` and `to`; returns up to where that is done or under way. */
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
