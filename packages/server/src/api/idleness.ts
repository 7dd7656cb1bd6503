/** Decides whether the server is idle enough for a deferred job. Pure. */

/** Requests of one burst come closer together than this. */
export const QUIET_MS = 10;
/** A job waits for a burst to pass no longer than this: then any turn of the loop without a request will do. */
export const SETTLE_MS = 100;

/** What a look at the end of a turn of the event loop found; a whole turn lies between two looks. */
export interface Look {
  /** Since the oldest job was queued. */
  ageMs: number;
  /** A request began or a response was finished since the last look: a handler may have more to do. */
  hasChanged: boolean;
  /** For how long nothing has changed. */
  quietMs: number;
}

/** Run the job, or look again at the end of the next turn, or only when it may have been quiet for long enough. */
export type Step = "run" | "look-next-turn" | "look-when-quiet";

/**
 * While no turn brings anything, no handler is runnable: all that came was read, and each handler waits for something. Between
 * the requests of a burst that is so too, hence the young job waits a little, and those that are combined with it become one.
 */
export function nextStep({ ageMs, hasChanged, quietMs }: Look, maxDeferDelayMs: number): Step {
  if (ageMs >= maxDeferDelayMs) return "run";
  if (ageMs >= SETTLE_MS) return hasChanged ? "look-next-turn" : "run";
  return !hasChanged && quietMs >= QUIET_MS ? "run" : "look-when-quiet";
}
