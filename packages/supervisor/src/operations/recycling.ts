/** Replaces processes that have reached a limit such as `maxRequests`; a replacement is ready before the old process drains. */
import { type Fleet, processId } from "../core/fleet.js";
import type { RecycleLimits } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "../processes/children.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { Rollouts } from "./rollouts.js";

interface RecyclingOptions {
  children: Pick<Children, "get">;
  rollouts: Pick<Rollouts, "of" | "run">;
  log: Pick<EventLog, "event">;
  fleet(): Fleet;
  /** Returns undefined for a pool whose processes are never recycled. */
  limitsOf(pool: string): RecycleLimits | undefined;
  /** Whether no other operation works on that pool, or is about to. */
  mayBegin(pool: string): boolean;
}

/** Reports within this time are checked together. */
const TOGETHER_MS = 1000;
/** How long a pool is left alone after a failed replacement or another operation. */
const PAUSE_MS = 60_000;

/**
 * The limits of a process: each entry returns why it is to be replaced, or undefined.
 * @param share the share of a limit that this process's jitter leaves, above 0 and up to 1
 */
const REASONS: readonly ((child: LiveProcess, limits: RecycleLimits, share: number) => string | undefined)[] = [
  ({ stats }, { maxRequests }, share) => {
    const requests = stats.last?.requestsTotal ?? 0;
    if (maxRequests === 0 || requests < Math.max(1, maxRequests * share)) return undefined;
    return `it has handled ${requests} requests (maxRequests)`;
  },
];

export class Recycling {
  private timer: NodeJS.Timeout | undefined;
  private isStopped = false;
  /** The random jitter of each process. */
  private readonly draws = new WeakMap<LiveProcess, number>();
  /** Until when a pool is left alone, by performance.now(). */
  private readonly pauses = new Map<string, number>();

  constructor(private readonly options: RecyclingOptions) {}

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /** Schedules a check after a report. Idle processes report every 10 s, which covers pools that were left alone. */
  lookSoon(): void {
    if (this.isStopped) return;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.look(performance.now());
    }, TOGETHER_MS);
  }

  look(now: number): void {
    const { fleet, limitsOf, mayBegin, rollouts, log } = this.options;
    for (const { name, generation, slots } of fleet().pools) {
      const limits = limitsOf(name);
      if (limits === undefined || rollouts.of(name) !== undefined || now < (this.pauses.get(name) ?? 0)) continue;
      if (!mayBegin(name)) continue;
      this.pauses.delete(name);
      const due: number[] = [];
      for (const { name: slot, index, member, other } of slots) {
        // Processes of older generations are left to the reload.
        if (member.process.state !== "ready" || member.generation !== generation || other !== null) continue;
        const reason = this.reasonOf(processId(slot, member.process.attempt), limits);
        if (reason === undefined) continue;
        log.event("info", slot, `is being recycled: ${reason}`);
        due.push(index);
      }
      if (due.length === 0) continue;
      void rollouts
        .run("recycle", name, due, generation, () => {})
        .then(({ ok }) => {
          if (!ok) this.pauses.set(name, performance.now() + PAUSE_MS);
        });
    }
  }

  private reasonOf(id: string, limits: RecycleLimits): string | undefined {
    const child = this.options.children.get(id);
    if (child === undefined || child.exit !== null) return undefined;
    const draw = this.draws.get(child) ?? Math.random();
    this.draws.set(child, draw);
    for (const reason of REASONS) {
      const text = reason(child, limits, 1 - limits.jitter * draw);
      if (text !== undefined) return text;
    }
    return undefined;
  }
}
