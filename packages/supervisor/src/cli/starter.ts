/** The command that has started this supervisor: it is told what happens, and may take the fleet with it when it ends. */
import { closeSync, writeSync } from "node:fs";
import { watchClient } from "../fleet/prepare-start.js";
import { SupervisorEnd } from "../fleet/starter-link.js";
import type { StartOptions } from "./options.js";

export interface Starter {
  /** Reports that the control socket is served, or why the start failed. */
  notify(message: string): void;
  /** Calls `onGone` when it ends without leaving the fleet running. Returns a function that stops watching. */
  watch(onGone: () => void): () => void;
  /** Reports the exit status. */
  end(status: number): Promise<void>;
}

/** Returns undefined for a supervisor that a user has started in the foreground. */
export function starterOf({ notifyFd, starter }: StartOptions): Starter | undefined {
  if (starter !== undefined) return new SupervisorEnd(starter);
  if (notifyFd === undefined) return undefined;
  return { notify: (message) => notify(notifyFd, message), watch: watchClient, end: async () => {} };
}

function notify(fd: number, message: string): void {
  try {
    writeSync(fd, `${message}\n`);
    closeSync(fd);
  } catch {
    // The starting command is gone, or already has its notice.
  }
}
