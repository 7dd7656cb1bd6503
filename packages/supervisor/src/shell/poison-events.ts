/** Says in the events which requests end the processes that run them, once it is sure that these have ended. */
import type { Poison } from "@paceline/link";
import type { EventLog } from "./event-log.js";

/** A balancer may hear of an end before we do. */
const SURE_AFTER_MS = 1000;
const MAX_WAITING = 64;
const MAX_TEXT = 200;

export class PoisonEvents {
  private readonly waiting = new Set<NodeJS.Timeout>();

  constructor(
    private readonly log: EventLog,
    private readonly isAlive: (process: string) => boolean,
  ) {}

  found(found: Poison): void {
    if (this.tell(found) || this.waiting.size >= MAX_WAITING) return;
    const timer = setTimeout(() => {
      this.waiting.delete(timer);
      this.tell(found);
    }, SURE_AFTER_MS);
    this.waiting.add(timer);
  }

  close(): void {
    for (const timer of this.waiting) clearTimeout(timer);
    this.waiting.clear();
  }

  /** False while one of them lives: it has closed the connection, and nothing more is known. */
  private tell({ pool, request, processes }: Poison): boolean {
    if (processes.some(this.isAlive)) return false;
    const message =
      `loses processes to ${request.slice(0, MAX_TEXT)}: ${processes.slice(0, 4).join(" and ")} ended while they ran it; ` +
      "for a minute such requests are not sent on to another instance";
    this.log.event("error", pool.slice(0, MAX_TEXT), message);
    return true;
  }
}
