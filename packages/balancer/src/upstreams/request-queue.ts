/** The request queue of a pool: bounded, and first in, first out among requests of the same kind. */
import { Fifo } from "@paceline/wire/fifo";
import type { Upstream } from "./upstream.js";

interface QueuedRequest {
  /** Returns false if it gave up or was served otherwise; it is then skipped. */
  readonly isWaiting: boolean;
  /** Non-idempotent requests also wait for a place among those not started (docs/lane.md). Others may overtake them. */
  readonly isIdempotent: boolean;
  /** Set on entry; orders all pending requests. */
  order: number;
}

/** A request that waits for an upstream. */
export interface PoolWaiter extends QueuedRequest {
  /** Upstreams that already failed this request and are skipped. */
  readonly tried: readonly Upstream[] | undefined;
  onUpstreamFree(upstream: Upstream): void;
  /** The pool has no upstream any more, and none is expected soon. */
  onPoolDown(): void;
}

export class RequestQueue<W extends QueuedRequest> {
  private readonly idempotent = new Fifo<W>();
  private readonly unsafe = new Fifo<W>();
  private entered = 0;

  constructor(private readonly maxPending: number) {}

  /** The number of pending requests, including those that gave up unnoticed. */
  get length(): number {
    return this.idempotent.length + this.unsafe.length;
  }

  /** Whether a request of this kind is pending, behind which another would have to wait. */
  holds(isIdempotent: boolean): boolean {
    return this.firstOf(this.queueOf(isIdempotent)) !== undefined;
  }

  /** Returns false if the queue is full. */
  add(waiter: W): boolean {
    if (this.length >= this.maxPending) {
      this.idempotent.keep(({ isWaiting }) => isWaiting);
      this.unsafe.keep(({ isWaiting }) => isWaiting);
    }
    if (this.length >= this.maxPending) return false;
    waiter.order = ++this.entered;
    this.queueOf(waiter.isIdempotent).push(waiter);
    return true;
  }

  /**
   * Offers the first request of each kind to `serve`, the longer waiting one first, until neither is served. Served requests are
   * removed.
   */
  serve(serve: (waiter: W) => (() => void) | undefined): void {
    for (;;) {
      const heads = [this.firstOf(this.idempotent), this.firstOf(this.unsafe)].filter((head) => head !== undefined);
      heads.sort((a, b) => a.order - b.order);
      let begin: (() => void) | undefined;
      for (const head of heads) {
        begin = serve(head);
        if (begin === undefined) continue;
        this.queueOf(head.isIdempotent).shift();
        break;
      }
      if (begin === undefined) return;
      begin();
    }
  }

  /** Returns the first request that still waits, without removing it. */
  private firstOf(queue: Fifo<W>): W | undefined {
    while (queue.first?.isWaiting === false) queue.shift();
    return queue.first;
  }

  private queueOf(isIdempotent: boolean): Fifo<W> {
    return isIdempotent ? this.idempotent : this.unsafe;
  }
}

/** The owner of a pending request. */
export interface Waiting {
  readonly tried: readonly Upstream[] | undefined;
  readonly isIdempotent: boolean;
  onUpstreamFree(upstream: Upstream): void;
  onPoolDown(): void;
}

/** One wait in a pool's queue. An exchange serves many requests, so each wait is a separate object. */
export class PendingRequest implements PoolWaiter {
  isWaiting = true;
  order = 0;

  constructor(private readonly waiting: Waiting) {}

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

  onPoolDown(): void {
    this.waiting.onPoolDown();
  }
}
