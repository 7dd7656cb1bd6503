/** The events and the output of children, as bounded lists with subscribers. */

import { IDEMPOTENT_METHODS, type Poison } from "@paceline/wire";
import type { FleetEvent, LogLine } from "../control/api.js";
import { isLineOf, KEPT_EVENTS, KEPT_LINES, lostText } from "../core/words.js";

const MAX_LOG_CHARACTERS = 2 << 20;
const MAX_SUBSCRIBERS = 256;

/** The last entries of a list, bounded in number and size. */
class Recent<T> {
  /** Removed entries are undefined. */
  private entries: (T | undefined)[] = [];
  private first = 0;
  private weight = 0;

  constructor(
    private readonly maxEntries: number,
    private readonly maxWeight: number,
    private readonly weigh: (entry: T) => number,
  ) {}

  push(entry: T): void {
    this.entries.push(entry);
    this.weight += this.weigh(entry);
    while (this.entries.length - this.first > this.maxEntries || this.weight > this.maxWeight) {
      this.weight -= this.weigh(this.entries[this.first] as T);
      this.entries[this.first++] = undefined;
    }
    if (this.first > this.maxEntries) {
      this.entries = this.entries.slice(this.first);
      this.first = 0;
    }
  }

  all(): T[] {
    return this.entries.slice(this.first) as T[];
  }
}

export class EventLog {
  private readonly events = new Recent<FleetEvent>(KEPT_EVENTS, Number.POSITIVE_INFINITY, () => 0);
  private readonly lines = new Recent<LogLine>(KEPT_LINES, MAX_LOG_CHARACTERS, (line) => line.text.length);
  private readonly eventListeners = new Set<(event: FleetEvent) => void>();
  private readonly lineListeners = new Set<(lines: readonly LogLine[]) => void>();
  private eventSequence = 0;
  private lineSequence = 0;

  /** Records an event about `subject`. It also appears in the log as a message of the supervisor. */
  event(level: FleetEvent["level"], subject: string, message: string, kind?: FleetEvent["kind"]): void {
    const event: FleetEvent = {
      ...{ sequence: ++this.eventSequence, at: Date.now(), level, subject, message },
      ...(kind !== undefined && { kind }),
    };
    this.events.push(event);
    for (const listener of this.eventListeners) listener(event);
    const line =
      subject === "paceline"
        ? this.next("paceline", message, event.at)
        : { ...this.next("paceline", `${subject} ${message}`, event.at), subject };
    this.add([{ ...line, level }]);
  }

  /** Records the output of `name`. */
  output(name: string, texts: readonly string[]): void {
    const at = Date.now();
    this.add(texts.map((text) => this.next(name, text, at)));
  }

  /** Records that `count` lines of `name` are missing here, with the reason `why`. */
  lost(name: string, count: number, why: string): void {
    this.add([{ ...this.next(name, lostText(count, why), Date.now()), lost: count }]);
  }

  private next(name: string, text: string, at: number): LogLine {
    return { sequence: ++this.lineSequence, at, name, text };
  }

  private add(lines: readonly LogLine[]): void {
    for (const line of lines) this.lines.push(line);
    for (const listener of this.lineListeners) listener(lines);
  }

  recentEvents(): FleetEvent[] {
    return this.events.all();
  }

  /** Returns the recent log of one slot (`web.3`), a pool (`web`) or the supervisor (`paceline`), or of all. */
  recentLog(name: string | undefined): LogLine[] {
    return this.lines.all().filter((line) => isLineOf(line, name));
  }

  /** Returns a function that ends the subscription. */
  onEvent(listener: (event: FleetEvent) => void): () => void {
    return subscribe(this.eventListeners, listener);
  }

  onLog(listener: (lines: readonly LogLine[]) => void): () => void {
    return subscribe(this.lineListeners, listener);
  }
}

function subscribe<T>(listeners: Set<T>, listener: T): () => void {
  if (listeners.size >= MAX_SUBSCRIBERS) throw new RangeError(`more than ${MAX_SUBSCRIBERS} subscribers`);
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * A balancer notices an exit before the supervisor does: a shim may take seconds to kill the leftover processes of its command. In
 * milliseconds.
 */
const WAIT_FOR_END_MS = 30_000;
const MAX_WAITING = 64;
const MAX_TEXT = 200;

/** Reports requests that crash the processes that run them, once these processes are known to have exited. */
export class PoisonEvents {
  /** Reports whose processes are still running, each with the timer after which the report is dropped. */
  private readonly waiting = new Map<Poison, NodeJS.Timeout>();

  constructor(
    private readonly log: EventLog,
    private readonly isAlive: (process: string) => boolean,
  ) {}

  found(found: Poison): void {
    if (this.report(found) || this.waiting.size >= MAX_WAITING) return;
    this.waiting.set(
      found,
      setTimeout(() => this.waiting.delete(found), WAIT_FOR_END_MS),
    );
  }

  /** Checks the pending reports after a process has exited. */
  processEnded(): void {
    for (const [found, timer] of this.waiting) {
      if (!this.report(found)) continue;
      clearTimeout(timer);
      this.waiting.delete(found);
    }
  }

  close(): void {
    for (const timer of this.waiting.values()) clearTimeout(timer);
    this.waiting.clear();
  }

  /** Returns false while any of the processes is running: it has only closed the connection so far. */
  private report({ pool, request, processes }: Poison): boolean {
    if (processes.some(this.isAlive)) return false;
    const message =
      `lost processes to ${request.slice(0, MAX_TEXT)}: ${processes.slice(0, 4).join(" and ")} exited while running it; ` +
      (IDEMPOTENT_METHODS.has(request.slice(0, request.indexOf(" ")))
        ? "for the next minute such requests are not retried on another instance"
        : "such requests are never retried on another instance");
    this.log.event("error", pool.slice(0, MAX_TEXT), message, "poison");
    return true;
  }
}
