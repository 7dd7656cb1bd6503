/**
 * Tells an app that a drain begins, so that it can end early what would hold the drain up. The app may have this from its own copy of the
 * package: both meet in the one place of the process (background-work.ts).
 */
import type { AppLifecycle } from "../app/app.js";
import { backgroundWork } from "./background-work.js";

/** Aborts when a drain begins: on a stop, a reload, a scale-down. The same signal each time; made when it is first asked for. */
export function drainSignal(): AbortSignal {
  const work = backgroundWork();
  if (work.draining === undefined) {
    work.draining = new AbortController();
    // Every long response listens to it, and Node warns of more than ten.
    if (process.versions.bun === undefined) {
      process.getBuiltinModule("node:events").setMaxListeners(0, work.draining.signal);
    }
    if (work.isDrainAnnounced) work.draining.abort(reason());
  }
  return work.draining.signal;
}

/** A drain begins, or will follow soon. Calls the app's `beforeDrain` once; resolves when that has ended. */
export async function announceDrain(app: AppLifecycle | undefined): Promise<void> {
  const work = backgroundWork();
  if (work.isDrainAnnounced) return;
  work.isDrainAnnounced = true;
  work.draining?.abort(reason());
  try {
    await app?.beforeDrain?.();
  } catch (error) {
    console.error("beforeDrain() failed:", error);
  }
}

function reason(): Error {
  return new DOMException("the instance drains", "AbortError");
}
