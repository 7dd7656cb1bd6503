/** The bounds of an autoscaled pool at a time: those of the entry of its schedule that began last. */
import { type CronTimes, readCron } from "@paceline/wire/cron";
import type { ScalingConfig } from "../core/model.js";

export interface Bounds {
  min: number;
  max: number;
}

export class SizeSchedule {
  private readonly entries: readonly { times: CronTimes; bounds: Bounds }[];
  private current: Bounds;
  /** The clock times between which `current` holds. */
  private from = Number.POSITIVE_INFINITY;
  private until = Number.NEGATIVE_INFINITY;

  /** The patterns were checked with the config. */
  constructor(private readonly config: ScalingConfig) {
    this.current = config;
    this.entries = config.schedule.flatMap(({ cron, min, max }) => {
      const times = readCron(cron, config.timezone ?? undefined);
      return "problem" in times ? [] : [{ times, bounds: { min, max } }];
    });
  }

  /** @param at Unix time in milliseconds; a clock that was set back is noticed */
  at(at: number): Bounds {
    if (at >= this.from && at < this.until) return this.current;
    let began = Number.NEGATIVE_INFINITY;
    this.current = { min: this.config.min, max: this.config.max };
    this.until = Number.POSITIVE_INFINITY;
    for (const { times, bounds } of this.entries) {
      // A pattern is due at this very moment, too.
      const last = times.previous(at + 1) ?? Number.NEGATIVE_INFINITY;
      if (last > began) {
        began = last;
        this.current = bounds;
      }
      this.until = Math.min(this.until, times.next(at) ?? Number.POSITIVE_INFINITY);
    }
    this.from = Math.max(began, at - 1000);
    return this.current;
  }
}
