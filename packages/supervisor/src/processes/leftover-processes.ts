/** Ends processes that instances started in other sessions, after the instances have ended. A shim does this itself. */
import { attempt, processesOf, readProcessTable, spawnTagOf } from "@paceline/wire/proc";
import type { EventLog } from "../logs/event-log.js";

interface Ended {
  name: string;
  pid: number;
  found: Set<number>;
  /** Searches in a row that found nothing. */
  cleanLooks: number;
  looks: number;
}

const LOOK_EVERY_MS = 30;
/** A process that forks during a search can be missed once. */
const CLEAN_LOOKS = 2;
/** Uninterruptible kernel work may delay a SIGKILL. */
const MAX_LOOKS = 60;

export class Leftovers {
  /** By spawn tag. */
  private readonly ended = new Map<string, Ended>();
  private timer: NodeJS.Timeout | undefined;
  private settled: (() => void)[] = [];

  constructor(private readonly log: EventLog) {}

  /** Kills processes that an ended process has left behind, in its session or with its spawn tag, shortly after this call. */
  endOf(name: string, pid: number, tag: string): void {
    this.ended.set(tag, { name, pid, found: new Set(), cleanLooks: 0, looks: 0 });
    // Many processes end together; one search covers all of them.
    this.timer ??= setTimeout(() => this.look(), 0);
  }

  /** Resolves when no search is left, within bounded time. */
  whenSettled(): Promise<void> {
    if (this.ended.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.settled.push(resolve));
  }

  private look(): void {
    const rows = readProcessTable();
    const tagged = new Map<string, number[]>();
    for (const { pid } of rows) {
      const tag = spawnTagOf(pid);
      if (tag !== undefined && this.ended.has(tag)) tagged.set(tag, [...(tagged.get(tag) ?? []), pid]);
    }
    for (const [tag, ended] of this.ended) {
      const left = new Set([...processesOf(ended.pid, rows), ...(tagged.get(tag) ?? [])]);
      left.delete(process.pid);
      ended.cleanLooks = left.size === 0 ? ended.cleanLooks + 1 : 0;
      for (const pid of left) {
        ended.found.add(pid);
        attempt(() => process.kill(pid, "SIGKILL"));
      }
      if (ended.cleanLooks < CLEAN_LOOKS && ++ended.looks < MAX_LOOKS) continue;
      this.ended.delete(tag);
      const count = ended.found.size;
      if (count > 0)
        this.log.event(
          "warn",
          ended.name,
          `left ${count === 1 ? "a process" : `${count} processes`} behind, which was killed`,
        );
    }
    this.timer = this.ended.size === 0 ? undefined : setTimeout(() => this.look(), LOOK_EVERY_MS);
    if (this.ended.size === 0) for (const settle of this.settled.splice(0)) settle();
  }
}
