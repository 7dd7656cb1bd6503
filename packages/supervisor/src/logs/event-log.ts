/** What happened and what the children wrote, as bounded lists with subscribers. */
import type { FleetEvent, LogLine } from "../control/api.js";
import { isLineOf, lostText } from "../core/words.js";

const MAX_EVENTS = 1000;
const MAX_LOG_LINES = 5000;
const MAX_LOG_CHARACTERS = 2 << 20;
const MAX_SUBSCRIBERS = 256;

/** The last entries of a list, bounded in number and in weight. */
class Recent<T> {
  /** Those that left are undefined. */
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
  private readonly events = new Recent<FleetEvent>(MAX_EVENTS, Number.POSITIVE_INFINITY, () => 0);
  private readonly lines = new Recent<LogLine>(MAX_LOG_LINES, MAX_LOG_CHARACTERS, (line) => line.text.length);
  private readonly eventListeners = new Set<(event: FleetEvent) => void>();
  private readonly lineListeners = new Set<(lines: readonly LogLine[]) => void>();
  private eventSequence = 0;
  private lineSequence = 0;

  /** Something happened to `subject`; it stands in the log as well, as a word of the supervisor's own. */
  event(level: FleetEvent["level"], subject: string, message: string): void {
    const event: FleetEvent = { sequence: ++this.eventSequence, at: Date.now(), level, subject, message };
    this.events.push(event);
    for (const listener of this.eventListeners) listener(event);
    const line =
      subject === "paceline"
        ? this.next("paceline", message, event.at)
        : { ...this.next("paceline", `${subject} ${message}`, event.at), subject };
    this.add([{ ...line, level }]);
  }

  /** What `name` wrote. */
  output(name: string, texts: readonly string[]): void {
    const at = Date.now();
    this.add(texts.map((text) => this.next(name, text, at)));
  }

  /** So many lines of `name` are missing here; `why` says it in words. */
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

  /** Of all, of one slot (`web.3`), of a pool (`web`), or the supervisor's own words (`paceline`). */
  recentLog(name: string | undefined): LogLine[] {
    return this.lines.all().filter((line) => isLineOf(line, name));
  }

  /** Returns the function that ends the subscription. */
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
