/** Which of this process's connections have lost their peers; loaded by the first body that is not read. */
import { readdirSync } from "node:fs";
import { whosePeerLeft } from "@paceline/wire/left-peers-bun";

/** By descriptor. */
export function whoLeft(): number[] {
  try {
    return whosePeerLeft(readdirSync("/proc/self/fd").map(Number));
  } catch {
    return [];
  }
}
