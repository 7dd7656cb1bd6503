/** The requests of a pool that wait for an upstream: bounded, and first in first out among those that wait for the same. */
import { Fifo } from "@paceline/wire/fifo";
import type { Upstream } from "./upstream.js";

interface QueuedRequest {
  /** False when it gave up or was served otherwise; it is passed over then. */
  readonly isWaiting: boolean;
  /** Those that are not idempotent also wait for a place among the not started (docs/lane.md); the others need not wait for them. */
  readonly isIdempotent: boolean;
  /** Set when it enters; orders all that wait. */
  order: number;
}

/** A request that waits for an upstream. */
export interface PoolWaiter extends QueuedRequest {
  /** Upstreams that failed this request already; they are passed over. */
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

  /** How many wait, those that gave up since the last look included. */
  get length(): number {
    return this.idempotent.length + this.unsafe.length;
  }

  /** Whether one of this kind waits, behind which another would have to. */
  holds(isIdempotent: boolean): boolean {
    return this.firstOf(this.queueOf(isIdempotent)) !== undefined;
  }

  /** False when the room is full. */
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
   * Offers each kind's first to `serve`, the one that waits longer before the other, until neither is taken. One that is
   * taken has left the room.
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

  /** The first that still waits, left in its place. */
  private firstOf(queue: Fifo<W>): W | undefined {
    while (queue.first?.isWaiting === false) queue.shift();
    return queue.first;
  }

  private queueOf(isIdempotent: boolean): Fifo<W> {
    return isIdempotent ? this.idempotent : this.unsafe;
  }
}

/** Who waits. */
export interface Waiting {
  readonly tried: readonly Upstream[] | undefined;
  readonly isIdempotent: boolean;
  onUpstreamFree(upstream: Upstream): void;
  onPoolDown(): void;
}

/** One wait in a pool's queue; an exchange serves many requests, and each wait must end with its own. */
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

  /** The wait is over, however it ended; the queue passes over this place. */
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
