/** Counts this process's connections whose peers have left; loaded by the first body that is not read. */
import { readdirSync } from "node:fs";
import { whosePeerLeft } from "@paceline/wire/left-peers-bun";

export function countLeftPeers(): number {
  try {
    return whosePeerLeft(readdirSync("/proc/self/fd").map(Number)).length;
  } catch {
    return 0;
  }
}
