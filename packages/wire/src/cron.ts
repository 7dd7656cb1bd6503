/** Finds when a cron pattern is due, as croner interprets it: five fields, six with seconds in front, or a name such as `@daily`. */
import { Cron } from "croner";

export interface CronTimes {
  /** Returns the first time after `afterMs`, both Unix times in milliseconds; null if there is none. */
  next(afterMs: number): number | null;
  /** Returns the last time before `beforeMs`; null if there is none. */
  previous(beforeMs: number): number | null;
}

/** @param timezone an IANA name. Default: the local time zone */
export function readCron(
  pattern: string,
  timezone: string | undefined,
): CronTimes | { key: "cron" | "timezone"; problem: string } {
  try {
    if (timezone !== undefined) new Intl.DateTimeFormat("en", { timeZone: timezone });
  } catch {
    return { key: "timezone", problem: `there is no time zone ${JSON.stringify(timezone)}` };
  }
  const fields = pattern.trim().split(/\s+/).length;
  // croner also accepts a single date, which would be due once, and a seventh field for the year.
  if (!pattern.trim().startsWith("@") && fields !== 5 && fields !== 6)
    return { key: "cron", problem: `${mustBe(pattern)}: it has five fields, or six with seconds in front` };
  try {
    const zone = timezone === undefined ? {} : { timezone };
    const cron = new Cron(pattern, { paused: true, mode: "5-or-6-parts", ...zone });
    return {
      next: (afterMs) => cron.nextRun(new Date(afterMs))?.getTime() ?? null,
      previous: (beforeMs) => cron.previousRuns(1, new Date(beforeMs))[0]?.getTime() ?? null,
    };
  } catch (error) {
    const why = (error as Error).message.replace(/^CronPattern: /, "");
    return { key: "cron", problem: `${mustBe(pattern)}: ${why}` };
  }
}

function mustBe(pattern: string): string {
  return `must be a cron pattern such as "*/5 * * * *", not ${JSON.stringify(pattern)}`;
}
