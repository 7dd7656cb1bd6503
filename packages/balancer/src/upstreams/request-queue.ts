/**
 * The request queue of a pool: bounded and sorted by class; requests of the same class and kind are first in, first out. With a time limit,
 * it refuses requests that have waited too long, and the newest request goes first while the queue stands (standing-queue.ts).
 */
import type { Fifo } from "@paceline/wire/fifo";
import type { Router } from "../routing/router.js";
import { firstOf, Lines, type QueuedRequest, Rank } from "./pending-lines.js";
import { StandingQueue } from "./standing-queue.js";
import type { Upstream } from "./upstream.js";

/** A request that waits for an upstream. */
export interface PendingRequest extends QueuedRequest {
  /** The upstreams that have failed this request. They are skipped. */
  readonly tried: readonly Upstream[] | undefined;
  onUpstreamFree(upstream: Upstream): void;
  /** Called when the request has left the queue because the slot that must serve it has no process. */
  onHomeLost(): void;
  /** Called when the pool has no upstream any more, and none is expected soon. */
  onPoolDown(): void;
}

const RANKS_FROM_LAST = [Rank.LOW, Rank.NORMAL, Rank.HIGH] as const;
const KINDS = [true, false] as const;

export class RequestQueue<W extends QueuedRequest> {
  /** How long its requests may wait, and whether it stands. */
  readonly standing = new StandingQueue();
  /** Finds the class of a route; undefined: all requests are of one class. */
  ranks: Router<Rank> | undefined;
  private readonly shared = new Lines<W>();
  /** The requests of sticky clients, by home slot; empty lists are removed. */
  private readonly homes = new Map<number, Lines<W>>();
  private entered = 0;
  private isRefusing = false;
  /** The number of upstreams. While the queue stands, this many requests may still wait for the whole interval. */
  private upstreams = 0;
  /** Earlier waiting does not count, because there was no upstream. */
  private countsFrom = Number.POSITIVE_INFINITY;
  /** The maximum number of pending requests of one home slot. */
  maxAtHome = Number.POSITIVE_INFINITY;

  /** @param clock in milliseconds */
  constructor(
    readonly maxPending: number,
    readonly clock: () => number = () => performance.now(),
  ) {}

  /** Whether requests are refused because of their waiting time. */
  get isTimed(): boolean {
    return this.standing.intervalMs !== Number.POSITIVE_INFINITY && this.upstreams > 0;
  }

  /** Sets the number of upstreams, and the time limit in milliseconds; Infinity: none. */
  follow(upstreams: number, intervalMs: number): void {
    if (this.upstreams === 0 || intervalMs !== this.standing.intervalMs) {
      this.countsFrom = this.clock();
      this.standing.emptied();
      if (this.hasMoreThan(0)) this.standing.filled(this.countsFrom);
    }
    this.upstreams = upstreams;
    this.standing.intervalMs = intervalMs;
  }

  /** The number of pending requests, including those that were abandoned unnoticed. */
  get length(): number {
    let length = this.shared.length;
    if (this.homes.size > 0) for (const lines of this.homes.values()) length += lines.length;
    return length;
  }

  /** Whether a request of this kind is pending, so that another one would wait behind it. */
  holds(isIdempotent: boolean, home = 0): boolean {
    const lines = home === 0 ? this.shared : this.homes.get(home);
    return lines?.holds(isIdempotent) === true;
  }

  /** Returns false if the queue, or the part of this home slot, is full. */
  add(pending: W): boolean {
    const { home } = pending;
    if (this.isTimed) this.refuseOverdue(pending);
    if (this.length >= this.maxPending) {
      this.shared.purge();
      for (const lines of this.homes.values()) lines.purge();
      if (this.length >= this.maxPending && !this.displace(pending)) return false;
    }
    const lines = home === 0 ? this.shared : (this.homes.get(home) ?? new Lines<W>());
    if (home !== 0) {
      if (lines.length >= this.maxAtHome) lines.purge();
      if (lines.length >= this.maxAtHome) return false;
      this.homes.set(home, lines);
    }
    pending.order = ++this.entered;
    lines.listOf(pending).push(pending);
    return true;
  }

  /**
   * Offers the first request of each class, kind and home slot to `serve`, until none is served. The highest class comes first; within a
   * class, the request that has waited longest, or the newest one while the queue stands. Served requests are removed.
   */
  serve(serve: (pending: W) => (() => void) | undefined): void {
    // Refused requests leave no room for others.
    if (this.isRefusing) return;
    if (this.isTimed) this.refuseOverdue(undefined);
    const isNewestFirst = this.isTimed && this.standing.stands(this.clock());
    for (;;) {
      const heads = this.heads(isNewestFirst);
      let begin: (() => void) | undefined;
      for (const head of heads) {
        begin = serve(head);
        if (begin === undefined) continue;
        const list = (head.home === 0 ? this.shared : this.homes.get(head.home))?.listOf(head);
        if (isNewestFirst) list?.pop();
        else list?.shift();
        break;
      }
      if (begin === undefined) return;
      begin();
    }
  }

  private heads(isNewestFirst: boolean): W[] {
    const heads: W[] = [];
    this.shared.addHeads(heads, isNewestFirst);
    if (this.homes.size > 0)
      for (const [home, lines] of this.homes) {
        lines.addHeads(heads, isNewestFirst);
        if (lines.length === 0) this.homes.delete(home);
      }
    const age = isNewestFirst ? -1 : 1;
    return heads.sort((a, b) => (a.rank ?? Rank.NORMAL) - (b.rank ?? Rank.NORMAL) || age * (a.order - b.order));
  }

  /** Removes and returns the requests of those home slots that are not accepted, in order. */
  takeHomes(accepts: (home: number) => boolean): W[] {
    const taken: W[] = [];
    for (const [home, lines] of this.homes) {
      if (accepts(home)) continue;
      taken.push(...lines);
      this.homes.delete(home);
    }
    return taken.filter(({ isWaiting }) => isWaiting).sort((a, b) => a.order - b.order);
  }

  /**
   * Refuses the requests that have waited too long, the lowest class first.
   * @param next the request that is about to enter
   */
  private refuseOverdue(next: W | undefined): void {
    if (this.isRefusing) return;
    const now = this.clock();
    const { standing } = this;
    if (!this.hasMoreThan(0)) standing.emptied();
    this.isRefusing = true;
    const maxMs = standing.stands(now) ? standing.targetMs : standing.intervalMs;
    for (const rank of RANKS_FROM_LAST) {
      const kept = this.upstreams - (next !== undefined && (next.rank ?? Rank.NORMAL) <= rank ? 1 : 0);
      for (const list of this.listsOf(rank)) {
        for (let first = firstOf(list); first !== undefined; first = firstOf(list)) {
          const waitedMs = now - Math.max(this.countsFrom, first.since ?? 0);
          if (waitedMs < maxMs || (waitedMs < standing.intervalMs && !this.hasMoreThan(kept, rank))) break;
          this.refuse(list, first, now);
        }
      }
    }
    this.isRefusing = false;
    if (next !== undefined) standing.filled(now);
  }

  /**
   * Refuses a request of a lower class than this one. While the queue stands, it may also refuse an older request of the same class.
   * Returns false if there is no such request.
   */
  private displace({ rank: own = Rank.NORMAL }: W): boolean {
    if (!this.isTimed) return false;
    const now = this.clock();
    for (const rank of RANKS_FROM_LAST) {
      if (rank < own || (rank === own && !this.standing.stands(now))) return false;
      for (const list of this.listsOf(rank)) {
        const first = firstOf(list);
        if (first === undefined) continue;
        this.refuse(list, first, now);
        return true;
      }
    }
    return false;
  }

  private refuse(list: Fifo<W>, first: W, now: number): void {
    const wasRefusing = this.isRefusing;
    this.isRefusing = true;
    list.shift();
    this.standing.refused(now);
    first.onRefused?.();
    this.isRefusing = wasRefusing;
  }

  /** Returns the lists of a class, of all home slots. */
  private listsOf(rank: Rank): Fifo<W>[] {
    const all = [this.shared, ...this.homes.values()];
    return KINDS.flatMap((kind) => all.flatMap((lines) => lines.of(kind, rank) ?? []));
  }

  /** Whether more than `count` requests of this class and of higher ones are waiting. */
  private hasMoreThan(count: number, upTo: Rank = Rank.LOW): boolean {
    let left = count;
    for (const lines of [this.shared, ...this.homes.values()])
      for (const { isWaiting, rank = Rank.NORMAL } of lines) if (isWaiting && rank <= upTo && --left < 0) return true;
    return false;
  }
}

/** The owner of a pending request. */
export interface Waiting {
  readonly tried: readonly Upstream[] | undefined;
  readonly isIdempotent: boolean;
  onUpstreamFree(upstream: Upstream): void;
  onHomeLost(): void;
  onPoolDown(): void;
  onRefused(): void;
}

/** One wait in a pool's queue. An exchange serves many requests, so each wait is a separate object. */
export class QueueEntry implements PendingRequest {
  isWaiting = true;
  order = 0;

  constructor(
    private readonly waiting: Waiting,
    readonly home: number,
    readonly rank: Rank,
    readonly since: number,
  ) {}

  get tried(): readonly Upstream[] | undefined {
    return this.waiting.tried;
  }

  get isIdempotent(): boolean {
    return this.waiting.isIdempotent;
  }

  /** Ends the wait. The queue then skips this entry. */
  stopWaiting(): void {
    this.isWaiting = false;
  }

  onUpstreamFree(upstream: Upstream): void {
    this.waiting.onUpstreamFree(upstream);
  }

  onHomeLost(): void {
    this.waiting.onHomeLost();
  }

  onPoolDown(): void {
    this.waiting.onPoolDown();
  }

  onRefused(): void {
    this.waiting.onRefused();
  }
}
