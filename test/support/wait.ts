/** Waits for a condition with a deadline; an error names the condition and the last value. */

export interface WaitOptions {
  /** Default: 60,000: only a failure takes that long, and a busy machine is not one. */
  deadlineMs?: number | undefined;
  /** The first pause between two checks; the pauses grow to 200 ms, as most checks cost a request or read /proc. Default: 10. */
  intervalMs?: number;
  /** Returns the last value, for the error. */
  details?: () => string;
}

const MAX_PAUSE_MS = 200;

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
