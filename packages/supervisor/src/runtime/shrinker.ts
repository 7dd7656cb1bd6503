/** Frees the memory of code that has run, such as that of a start or a reload. */

/** How long nothing must have happened, in milliseconds. */
const QUIET_MS = 2500;
/** The least time between two calls, in milliseconds. */
const SHRINK_EVERY_MS = 60_000;

/**
 * Drops compiled code and all garbage when nothing has happened for a while, and returns their memory to the system: on Bun 4 MB after a
 * start. Code that runs again is compiled again, which takes milliseconds for what a supervisor does at rest.
 */
export class Shrinker {
  private timer: NodeJS.Timeout | undefined;
  private noEarlierThan = Number.NEGATIVE_INFINITY;

  constructor(private readonly shrink = shrinkOnBun) {}

  /** Called when something happens that runs other code than a supervisor does at rest. */
  note(): void {
    clearTimeout(this.timer);
    const delayMs = Math.max(QUIET_MS, this.noEarlierThan - performance.now());
    this.timer = setTimeout(() => {
      this.noEarlierThan = performance.now() + SHRINK_EVERY_MS;
      this.shrink();
    }, delayMs).unref();
  }
}

function shrinkOnBun(): void {
  if (process.versions.bun !== undefined) Bun.shrink();
}
