/**
 * Limits the work for bodies and pipelined requests to a share of each turn of the event loop. A client determines the cost of a
 * read: sixty clients that send chunks of one byte could block all others for seconds.
 */

/** The work per turn for all clients, in bytes of bodies. The first request of a read is free. */
const TURN_UNITS = 1 << 20;
/** The fixed costs in the same unit. */
export const CHUNK_UNITS = 32;
export const REQUEST_UNITS = 4096;
/** How many requests of a connection start in one turn, before other connections get theirs. */
export const MAX_TURN_REQUESTS = 64;
/** How many waiting clients continue in one turn, or fewer if they use it up. */
const MAX_TURN_SHARERS = 8;

export interface Sharer {
  /** The share is used up: the client is paused until `onTurn`. */
  onTurnOver(): void;
  /** The client may continue and no longer waits. */
  onTurn(): void;
}

export class TurnShare {
  private left = TURN_UNITS;
  private isArmed = false;
  /** Clients with more input than one read; the last served one is last. */
  private readonly served = new Set<Sharer>();
  private readonly waiting = new Set<Sharer>();

  private get isOver(): boolean {
    return this.left <= 0;
  }

  /** Counts completed work. Returns false if the share of this turn is used up. */
  take(units: number): boolean {
    this.left -= units;
    if (!this.isArmed) this.arm();
    if (!this.isOver) return true;
    for (const sharer of this.served) this.wait(sharer);
    return false;
  }

  /** Called when more of a body follows. */
  join(sharer: Sharer): void {
    if (this.isOver || this.waiting.has(sharer)) return this.wait(sharer);
    this.served.delete(sharer);
    this.served.add(sharer);
  }

  wait(sharer: Sharer): void {
    this.served.delete(sharer);
    this.waiting.add(sharer);
    sharer.onTurnOver();
    if (!this.isArmed) this.arm();
  }

  leave(sharer: Sharer): void {
    this.served.delete(sharer);
    this.waiting.delete(sharer);
  }

  private arm(): void {
    this.isArmed = true;
    setImmediate(this.next);
  }

  private readonly next = (): void => {
    this.isArmed = false;
    this.left = TURN_UNITS;
    let mayGoOn = MAX_TURN_SHARERS;
    for (const sharer of this.waiting) {
      this.waiting.delete(sharer);
      sharer.onTurn();
      if (--mayGoOn === 0 || this.isOver) break;
    }
    if (this.waiting.size > 0 && !this.isArmed) this.arm();
  };
}
