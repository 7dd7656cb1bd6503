/** The pending requests of a pool, or of one home slot, by class and kind. */
import type { SnapshotPool } from "@paceline/wire";
import { Fifo } from "@paceline/wire/fifo";
import { Router } from "../routing/router.js";

/** The class of a request. Classes with lower numbers go first. */
export const Rank = { HIGH: 0, NORMAL: 1, LOW: 2 } as const;

export type Rank = (typeof Rank)[keyof typeof Rank];

/** Returns a router that finds the class of a request, from a pool's key `priority`. Returns undefined if all requests are of one class. */
export function ranksOf(priority: SnapshotPool["priority"]): Router<Rank> | undefined {
  if (priority === undefined) return undefined;
  const specs = (routes: readonly string[], target: Rank) => routes.map((text) => ({ text, target }));
  return new Router([...specs(priority.high, Rank.HIGH), ...specs(priority.low, Rank.LOW)]);
}

export interface QueuedRequest {
  /** False if the request was abandoned or served in another way: it is then skipped. */
  readonly isWaiting: boolean;
  /** A non-idempotent request also waits while too many have not started at the instance (docs/lane.md). Others may overtake it. */
  readonly isIdempotent: boolean;
  /** The slot that must serve the request; 0 if any slot may. A request for one slot may overtake those for another slot. */
  readonly home: number;
  /** Its class. Default: NORMAL. */
  readonly rank?: Rank;
  /** Since when it waits, by the queue's clock. Default: the start of time. */
  readonly since?: number;
  /** Set on entry; orders all pending requests. */
  order: number;
  /** Called when the request has left the queue because it has waited too long, or because other requests displace it. */
  onRefused?(): void;
}

/** The pending requests of one home slot: a list for each class and kind. */
export class Lines<W extends QueuedRequest> {
  private readonly lists: (Fifo<W> | undefined)[] = [];

  get length(): number {
    let length = 0;
    for (const list of this.lists) length += list?.length ?? 0;
    return length;
  }

  of(isIdempotent: boolean, rank: Rank): Fifo<W> | undefined {
    return this.lists[2 * rank + (isIdempotent ? 0 : 1)];
  }

  /** Returns the list of this request. */
  listOf({ isIdempotent, rank = Rank.NORMAL }: W): Fifo<W> {
    const at = 2 * rank + (isIdempotent ? 0 : 1);
    this.lists[at] ??= new Fifo<W>();
    return this.lists[at];
  }

  holds(isIdempotent: boolean): boolean {
    for (let at = isIdempotent ? 0 : 1; at < this.lists.length; at += 2)
      if (firstOf(this.lists[at]) !== undefined) return true;
    return false;
  }

  /** Removes the requests that were abandoned. */
  purge(): void {
    for (const list of this.lists) list?.keep(({ isWaiting }) => isWaiting);
  }

  *[Symbol.iterator](): IterableIterator<W> {
    for (const list of this.lists) if (list !== undefined) yield* list;
  }

  /** Adds the request of each list whose turn is next: the newest or the oldest one. */
  addHeads(heads: W[], isNewestFirst: boolean): void {
    for (const list of this.lists) {
      const head = isNewestFirst ? lastOf(list) : firstOf(list);
      if (head !== undefined) heads.push(head);
    }
  }
}

/** Returns the first request that is still waiting, without removing it. */
export function firstOf<W extends QueuedRequest>(queue: Fifo<W> | undefined): W | undefined {
  while (queue?.first?.isWaiting === false) queue.shift();
  return queue?.first;
}

/** Returns the last request that is still waiting, without removing it. */
function lastOf<W extends QueuedRequest>(queue: Fifo<W> | undefined): W | undefined {
  while (queue?.last?.isWaiting === false) queue.pop();
  return queue?.last;
}
