/** Reports requests that end the processes that run them, once these processes are known to have ended. */
import type { Poison } from "@paceline/wire";
import type { EventLog } from "./event-log.js";

/** A balancer notices an end first: a shim takes up to seconds to end the leftover processes of its command. */
const WAIT_FOR_END_MS = 30_000;
const MAX_WAITING = 64;
const MAX_TEXT = 200;

export class PoisonEvents {
  /** Findings whose processes are still running, each with the timer that drops it. */
  private readonly waiting = new Map<Poison, NodeJS.Timeout>();

  constructor(
    private readonly log: EventLog,
    private readonly isAlive: (process: string) => boolean,
  ) {}

  found(found: Poison): void {
    if (this.tell(found) || this.waiting.size >= MAX_WAITING) return;
    this.waiting.set(
      found,
      setTimeout(() => this.waiting.delete(found), WAIT_FOR_END_MS),
    );
  }

  /** Checks the pending findings after a process has ended. */
  processEnded(): void {
    for (const [found, timer] of this.waiting) {
      if (!this.tell(found)) continue;
      clearTimeout(timer);
      this.waiting.delete(found);
    }
  }

  close(): void {
    for (const timer of this.waiting.values()) clearTimeout(timer);
    this.waiting.clear();
  }

  /** Returns false while any of the processes runs: it has only closed the connection so far. */
  private tell({ pool, request, processes }: Poison): boolean {
    if (processes.some(this.isAlive)) return false;
    const message =
      `lost processes to ${request.slice(0, MAX_TEXT)}: ${processes.slice(0, 4).join(" and ")} exited while running it; ` +
      "for the next minute such requests are not retried on another instance";
    this.log.event("error", pool.slice(0, MAX_TEXT), message);
    return true;
  }
}
