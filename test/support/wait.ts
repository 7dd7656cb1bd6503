/** Waits for a condition with a deadline; the error names the condition and the last value. */

export interface WaitOptions {
  /** Default: 60,000 ms. Only a failure takes that long; a busy machine does not. */
  deadlineMs?: number | undefined;
  /**
   * The first pause between two checks in milliseconds; the pauses grow to 500 ms, because most checks cost a request or read /proc.
   * Default: 10.
   */
  intervalMs?: number;
  /** Returns the last value, for the error. */
  details?: () => string;
}

const MAX_PAUSE_MS = 500;
const MAX_TRIES = 20;

/**
 * Repeats an action of this process that must be quicker than a short limit of the program under test: on a busy machine it may be late,
 * and gets another result. `isLate` distinguishes that result from an error.
 */
export async function inTime<T>(run: () => Promise<T>, isLate: (result: T) => boolean): Promise<T> {
  for (let tries = 1; ; tries++) {
    const result = await run();
    if (!isLate(result) || tries === MAX_TRIES) return result;
  }
}

/**
 * The same if a late result cannot be distinguished from an error: a failure counts only if this process was never delayed for `limitMs`.
 */
export async function punctually<T>(limitMs: number, run: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    let last = performance.now();
    let longest = 0;
    const look = () => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    };
    const clock = setInterval(look, limitMs / 10);
    try {
      return await run();
    } catch (error) {
      look();
      if (longest < limitMs || tries === MAX_TRIES) throw error;
    } finally {
      clearInterval(clock);
    }
  }
}

/** Resolves with the first value of `look` that is neither false nor undefined; rejects at the deadline. */
export async function waitFor<T>(
  what: string,
  look: () => T | false | undefined | Promise<T | false | undefined>,
  options: WaitOptions = {},
): Promise<T> {
  const { deadlineMs = 60_000, intervalMs = 10 } = options;
  const deadline = performance.now() + deadlineMs;
  for (let pauseMs = intervalMs; ; pauseMs = Math.max(intervalMs, Math.min(MAX_PAUSE_MS, pauseMs * 1.5))) {
    const seen = await look();
    if (seen !== false && seen !== undefined) return seen;
    if (performance.now() > deadline) {
      throw new Error(`waited ${deadlineMs} ms in vain for ${what}${options.details ? `; ${options.details()}` : ""}`);
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
