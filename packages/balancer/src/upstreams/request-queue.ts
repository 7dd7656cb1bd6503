/** The request queue of a pool: bounded, and first in, first out among requests of the same kind. */
import { Fifo } from "@paceline/wire/fifo";
import type { Upstream } from "./upstream.js";

interface QueuedRequest {
  /** Returns false if it gave up or was served otherwise; it is then skipped. */
  readonly isWaiting: boolean;
  /** Non-idempotent requests also wait for a place among those not started (docs/lane.md). Others may overtake them. */
  readonly isIdempotent: boolean;
  /** The slot that must serve it; 0: any. Requests for one slot may overtake those for another. */
  readonly home: number;
  /** Set on entry; orders all pending requests. */
  order: number;
}

/** A request that waits for an upstream. */
export interface PoolWaiter extends QueuedRequest {
  /** Upstreams that already failed this request and are skipped. */
  readonly tried: readonly Upstream[] | undefined;
  onUpstreamFree(upstream: Upstream): void;
  /** The slot that must serve it has no process that could; it has left the queue. */
  onHomeLost(): void;
  /** The pool has no upstream any more, and none is expected soon. */
  onPoolDown(): void;
}

/** The pending requests of one home. */
class Lines<W extends QueuedRequest> {
  readonly idempotent = new Fifo<W>();
  readonly unsafe = new Fifo<W>();

  get length(): number {
    return this.idempotent.length + this.unsafe.length;
  }

  of(isIdempotent: boolean): Fifo<W> {
    return isIdempotent ? this.idempotent : this.unsafe;
  }

  /** Removes the requests that gave up. */
  purge(): void {
    this.idempotent.keep(({ isWaiting }) => isWaiting);
    this.unsafe.keep(({ isWaiting }) => isWaiting);
  }
}

export class RequestQueue<W extends QueuedRequest> {
  private readonly shared = new Lines<W>();
  /** Those of sticky clients, by home; empty ones are removed. */
  private readonly homes = new Map<number, Lines<W>>();
  private entered = 0;
  /** The most pending requests of one home. */
  maxAtHome = Number.POSITIVE_INFINITY;

  constructor(readonly maxPending: number) {}

  /** The number of pending requests, including those that gave up unnoticed. */
  get length(): number {
    let length = this.shared.length;
    if (this.homes.size > 0) for (const lines of this.homes.values()) length += lines.length;
    return length;
  }

  /** Whether a request of this kind is pending, behind which another would have to wait. */
  holds(isIdempotent: boolean, home = 0): boolean {
    const lines = home === 0 ? this.shared : this.homes.get(home);
    return lines !== undefined && firstOf(lines.of(isIdempotent)) !== undefined;
  }

  /** Returns false if the queue, or the home's part of it, is full. */
  add(waiter: W): boolean {
    const { home } = waiter;
    if (this.length >= this.maxPending) {
      this.shared.purge();
      for (const lines of this.homes.values()) lines.purge();
      if (this.length >= this.maxPending) return false;
    }
    const lines = home === 0 ? this.shared : (this.homes.get(home) ?? new Lines<W>());
    if (home !== 0) {
      if (lines.length >= this.maxAtHome) lines.purge();
      if (lines.length >= this.maxAtHome) return false;
      this.homes.set(home, lines);
    }
    waiter.order = ++this.entered;
    lines.of(waiter.isIdempotent).push(waiter);
    return true;
  }

  /**
   * Offers the first request of each kind and home to `serve`, the longest waiting one first, until none is served. Served
   * requests are removed.
   */
  serve(serve: (waiter: W) => (() => void) | undefined): void {
    for (;;) {
      const heads = this.heads();
      let begin: (() => void) | undefined;
      for (const head of heads) {
        begin = serve(head);
        if (begin === undefined) continue;
        const lines = head.home === 0 ? this.shared : this.homes.get(head.home);
        lines?.of(head.isIdempotent).shift();
        break;
      }
      if (begin === undefined) return;
      begin();
    }
  }

  private heads(): W[] {
    const { idempotent, unsafe } = this.shared;
    const heads = [firstOf(idempotent), firstOf(unsafe)];
    if (this.homes.size > 0)
      for (const [home, lines] of this.homes) {
        heads.push(firstOf(lines.idempotent), firstOf(lines.unsafe));
        if (lines.length === 0) this.homes.delete(home);
      }
    return heads.filter((head) => head !== undefined).sort((a, b) => a.order - b.order);
  }

  /** Removes and returns the requests of all homes that are not accepted, in order. */
  takeHomes(accepts: (home: number) => boolean): W[] {
    const taken: W[] = [];
    for (const [home, lines] of this.homes) {
      if (accepts(home)) continue;
      taken.push(...lines.idempotent, ...lines.unsafe);
      this.homes.delete(home);
    }
    return taken.filter(({ isWaiting }) => isWaiting).sort((a, b) => a.order - b.order);
  }
}

/** Returns the first request that still waits, without removing it. */
function firstOf<W extends QueuedRequest>(queue: Fifo<W>): W | undefined {
  while (queue.first?.isWaiting === false) queue.shift();
  return queue.first;
}

/** The owner of a pending request. */
export interface Waiting {
  readonly tried: readonly Upstream[] | undefined;
  readonly isIdempotent: boolean;
  onUpstreamFree(upstream: Upstream): void;
  onHomeLost(): void;
  onPoolDown(): void;
}

/** One wait in a pool's queue. An exchange serves many requests, so each wait is a separate object. */
export class PendingRequest implements PoolWaiter {
  isWaiting = true;
  order = 0;

  constructor(
    private readonly waiting: Waiting,
    readonly home: number,
  ) {}

  get tried(): readonly Upstream[] | undefined {
    return this.waiting.tried;
  }

  get isIdempotent(): boolean {
    return this.waiting.isIdempotent;
  }

  /** Ends the wait; the queue then skips this entry. */
  giveUp(): void {
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
}
