/** The commands that wait for this supervisor: they are told what happens, and may take the fleet with them when they end. */
import { closeSync, writeSync } from "node:fs";
import { watchClient } from "../fleet/prepare-start.js";
import { SupervisorEnd } from "../fleet/starter-link.js";
import type { StartOptions } from "./options.js";

export interface Starter {
  /** Reports that the control socket is served, or why the start failed. Only the first report counts. */
  notify(message: string): void;
  /** Calls `onGone` when it ends without leaving the fleet running. Returns a function that stops watching. */
  watch(onGone: () => void): () => void;
  /** The link to a command that is not the parent of this process. */
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
 * Whether nobody else starts this fleet again, or ends it. A fleet that was started in the foreground ends with, or is started again by,
 * who started it, also after an upgrade: by a service manager, or by whoever waits for the process that has stayed beside it.
 */
export function isNobodys(
  { heir, starter, stopWithClient }: Pick<StartOptions, "heir" | "starter" | "stopWithClient">,
  hasServiceManager: boolean,
): boolean {
  if (stopWithClient === true) return false;
  return heir !== true || (!hasServiceManager && starter === undefined);
}

/** The time for the last messages, in milliseconds. */
const EXIT_GRACE_MS = 2_000;

/** Exits even if something of this process was left open: a supervisor that has ended its fleet must not stay. */
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
