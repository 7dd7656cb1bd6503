/**
 * Decides which events become alerts, and which of these are delivered: the same one not again too soon, not too many, and not in quiet
 * hours. Pure.
 */

/** Every kind of alert. A new kind is one line here, and the `kind` of its event; docs/alerts.md has the same table. */
const ALERT_KINDS = {
  death: "a process died or was killed",
  "crash-loop": "an instance failed so often that it is no longer restarted, or only with the longest delay",
  "pool-down": "no instance of a pool serves requests any more",
  "pool-up": "that pool serves requests again",
  "deploy-failed": "a deploy was refused or rolled back",
  "reload-failed": "a reload or restart failed, and the old version keeps serving",
  "recycle-failed": "an instance that reached a limit could not be replaced",
  ejected: "an instance gets no requests because it fails more than the others, or fails its health checks",
  memory: "the memory of an instance grows steadily towards `maxMemoryMb`",
  poison: "a request ends the processes that run it",
  "run-failed": "the run of a worker with `cron` failed",
  certificate:
    "a certificate could not be ordered or renewed, expires soon, has expired, was revoked, or cannot be used",
  disk: "the log or the state cannot be written, as on a full disk",
  supervisor: "a new supervisor has taken over the fleet after the old one was killed or upgraded",
} as const satisfies Record<string, string>;

export type AlertKind = keyof typeof ALERT_KINDS;

export const ALERT_NAMES = Object.keys(ALERT_KINDS) as [AlertKind, ...AlertKind[]];

/** Hours of the day, in minutes since midnight; `from` may be after `to`. */
export interface QuietHours {
  from: number;
  to: number;
  /** Null: the supervisor's time zone. */
  timezone: string | null;
  /** Kinds that are delivered all the same. */
  except: readonly AlertKind[];
}

/** When a destination gets an alert. */
export interface AlertRule {
  on: readonly AlertKind[];
  /** Alerts of the same kind and subject are delivered once in this time. */
  repeatAfterMs: number;
  maxPerHour: number;
  quiet: QuietHours | null;
}

export interface Alert {
  /** `test` and `summary` are not events. */
  kind: AlertKind | "test" | "summary";
  level: "info" | "warn" | "error";
  subject: string;
  message: string;
  /** Unix time in milliseconds. */
  at: number;
  /** The number of alerts of its kind and subject since the last delivery, including this one. */
  count: number;
}

const HOUR_MS = 3_600_000;
/** The maximum number of remembered kinds and subjects. If there are more, the oldest are forgotten. */
const MAX_KEYS = 512;
const MAX_HELD = 100;
/** The maximum number of held alerts that a summary names. */
const MAX_NAMED = 10;

/** The alerts of one destination. */
export class AlertDesk {
  private readonly known = new Map<string, { at: number; suppressed: number }>();
  /** The times of the last deliveries. */
  private delivered: number[] = [];
  private held: Alert[] = [];
  private heldOmitted = 0;
  /** Alerts that were not delivered because of `maxPerHour`. */
  private dropped = 0;
  suppressedTotal = 0;

  /** Returns the alert if it should be delivered now. */
  take(alert: Omit<Alert, "count">, rule: AlertRule, now: number, minuteOfDay: number): Alert | undefined {
    const { kind } = alert;
    if (kind === "test" || kind === "summary" || !rule.on.includes(kind)) return undefined;
    const key = `${kind} ${alert.subject}`;
    const known = this.known.get(key);
    if (known !== undefined && now - known.at < rule.repeatAfterMs) {
      known.suppressed++;
      this.suppressedTotal++;
      return undefined;
    }
    const full = { ...alert, count: 1 + (known?.suppressed ?? 0) };
    this.remember(key, now);
    if (rule.quiet !== null && !rule.quiet.except.includes(kind) && isQuiet(rule.quiet, minuteOfDay)) {
      if (this.held.length < MAX_HELD) this.held.push(full);
      else this.heldOmitted++;
      return undefined;
    }
    return this.withinHour(full, rule, now);
  }

  /** Returns one alert about all held ones, once the quiet hours are over. */
  release(rule: AlertRule, now: number, minuteOfDay: number): Alert | undefined {
    const { held } = this;
    if (held.length === 0 || (rule.quiet !== null && isQuiet(rule.quiet, minuteOfDay))) return undefined;
    const count = held.length + this.heldOmitted;
    const [only] = held;
    this.held = [];
    this.heldOmitted = 0;
    if (count === 1 && only !== undefined) return this.withinHour(only, rule, now);
    const named = held.slice(0, MAX_NAMED).map((each) => `${each.subject}: ${each.message}`);
    const more = count - named.length;
    const message = `${count} alerts in quiet hours: ${named.join("; ")}${more > 0 ? `; and ${more} more` : ""}`;
    const level = held.some((each) => each.level === "error") ? "error" : "warn";
    return this.withinHour({ kind: "summary", level, subject: "paceline", message, at: now, count }, rule, now);
  }

  get heldCount(): number {
    return this.held.length + this.heldOmitted;
  }

  private withinHour(alert: Alert, { maxPerHour }: AlertRule, now: number): Alert | undefined {
    this.delivered = this.delivered.filter((at) => now - at < HOUR_MS);
    if (this.delivered.length >= maxPerHour) {
      this.dropped++;
      this.suppressedTotal++;
      return undefined;
    }
    this.delivered.push(now);
    const { dropped } = this;
    this.dropped = 0;
    const isLast = this.delivered.length === maxPerHour;
    const notes = [
      ...(dropped === 0 ? [] : [`${dropped} alerts before this one were not delivered (maxPerHour ${maxPerHour})`]),
      ...(isLast ? [`no more alerts for up to an hour (maxPerHour ${maxPerHour})`] : []),
    ];
    return notes.length === 0 ? alert : { ...alert, message: `${alert.message}; ${notes.join("; ")}` };
  }

  private remember(key: string, now: number): void {
    this.known.delete(key);
    this.known.set(key, { at: now, suppressed: 0 });
    if (this.known.size > MAX_KEYS) this.known.delete(this.known.keys().next().value as string);
  }
}

/** @param minute of the day */
export function isQuiet({ from, to }: QuietHours, minute: number): boolean {
  if (from === to) return false;
  return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}

/** Returns `shop: web.3 exited with code 1 (3 times since the last alert)`. */
export function alertText(fleet: string, { subject, message, count, kind }: Alert): string {
  const repeated = count > 1 && kind !== "summary" ? ` (${count} times since the last alert)` : "";
  return `${fleet}: ${subject === "paceline" ? "" : `${subject} `}${message}${repeated}`;
}

/**
 * Returns how long to wait before a further attempt, in milliseconds.
 * @param attempt from 1
 */
export function retryDelayMs(attempt: number): number {
  return Math.min(60_000, 1_000 * 5 ** (attempt - 1));
}
