/** The commands that wait for this supervisor. They get its reports, and may stop the fleet when they end. */
import { closeSync, writeSync } from "node:fs";
import { watchClient } from "../fleet/prepare-start.js";
import { SupervisorEnd } from "../fleet/starter-link.js";
import type { StartOptions } from "./options.js";

export interface Starter {
  /** Reports that the control socket is served, or why the start failed. Only the first report counts. */
  notify(message: string): void;
  /** Calls `onGone` when the command ends without leaving the fleet running. Returns a function that stops watching. */
  watch(onGone: () => void): () => void;
  /** The connection to a command that is not the parent of this process. */
  readonly link: SupervisorEnd | undefined;
  /** Reports the exit status. */
  end(status: number): Promise<void>;
}

/** Returns undefined for a supervisor that a user has started in the foreground. */
export function starterOf({ notifyFd, starter }: StartOptions): Starter | undefined {
  if (starter === undefined && notifyFd === undefined) return undefined;
  const link = starter === undefined ? undefined : new SupervisorEnd(starter);
  let hasNotified = false;
  return {
    notify: (message) => {
      if (hasNotified) return;
      hasNotified = true;
      link?.notify(message);
      if (notifyFd !== undefined) notify(notifyFd, message);
    },
    watch: (onGone) => link?.watch(onGone) ?? watchClient(onGone),
    link,
    end: async (status) => link?.end(status),
  };
}

/**
 * Whether no other program restarts or stops this fleet. The starter of a fleet in the foreground does so, even after an upgrade: a service
 * manager, or the program that waits for the process that has stayed beside the supervisor.
 */
export function isNobodys(
  { nextSupervisor, starter, stopWithClient }: Pick<StartOptions, "nextSupervisor" | "starter" | "stopWithClient">,
  hasServiceManager: boolean,
): boolean {
  if (stopWithClient === true) return false;
  return nextSupervisor !== true || (!hasServiceManager && starter === undefined);
}

/** The time for the last messages, in milliseconds. */
const EXIT_GRACE_MS = 2_000;

/** Exits even if this process has left something open: a supervisor whose fleet has stopped must not stay. */
export function exitSoon(status: number): void {
  setTimeout(() => process.exit(status), EXIT_GRACE_MS).unref();
}

function notify(fd: number, message: string): void {
  try {
    writeSync(fd, `${message}\n`);
    closeSync(fd);
  } catch {
    // The starting command is gone, or already has its notice.
  }
}
