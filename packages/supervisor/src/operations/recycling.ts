/** Replaces processes that have reached a limit of their pool, such as `maxRequests`: the new one is ready before the old one drains. */
import { type Fleet, processId } from "../core/fleet.js";
import type { RecycleLimits } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "../processes/children.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { Rollouts } from "./rollouts.js";

export interface RecyclingOptions {
  children: Pick<Children, "get">;
  rollouts: Pick<Rollouts, "of" | "run">;
  log: Pick<EventLog, "event">;
  fleet(): Fleet;
  /** Undefined for a pool whose processes are never recycled. */
  limitsOf(pool: string): RecycleLimits | undefined;
  /** Whether nothing else is at work on that pool, or is about to be. */
  mayBegin(pool: string): boolean;
}

/** All that is heard within this time is looked at together. */
const TOGETHER_MS = 1000;
/** When a replacement could not start, or another operation came first, a pool is left alone for so long. */
const PAUSE_MS = 60_000;

/**
 * What a process can reach, in one list: each says why it is to be replaced, or nothing.
 * @param share what is left of a limit after the jitter of this process, over 0 and up to 1
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
  /** The jitter of each process, drawn once. */
  private readonly draws = new WeakMap<LiveProcess, number>();
  /** Until when a pool is left alone, by performance.now(). */
  private readonly pauses = new Map<string, number>();

  constructor(private readonly options: RecyclingOptions) {}

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /** A process was heard: it may have reached a limit. One with no requests is still heard every 10 s, in case a pool was left alone. */
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
        // One of an older generation is a reload's to replace.
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
