/**
 * Holds bodies and pipelined requests to a share of each turn of the event loop. A client decides how much work a read has: sixty that
 * send chunks of a byte as fast as they are read would keep all others waiting for seconds.
 */

/** What clients have done for them in a turn, in bytes of bodies. The first request of a read is free. */
const TURN_UNITS = 1 << 20;
/** What each costs beside its bytes, in the same measure. */
export const CHUNK_UNITS = 32;
export const REQUEST_UNITS = 4096;
/** So many requests of a connection are begun in one turn of the event loop; then the others have theirs. */
export const MAX_TURN_REQUESTS = 64;
/** Of those that wait so many go on in one turn, and fewer when they use it up. */
const MAX_TURN_SHARERS = 8;

export interface Sharer {
  /** The share is used up: it is read no more until `onTurn`. */
  onTurnOver(): void;
  /** It may go on, and waits no more. */
  onTurn(): void;
}

export class TurnShare {
  private left = TURN_UNITS;
  private isArmed = false;
  /** Those that are read and have more than a read brings; whoever was served last is last. */
  private readonly served = new Set<Sharer>();
  private readonly waiting = new Set<Sharer>();

  private get isOver(): boolean {
    return this.left <= 0;
  }

  /** Counts work that was done; false: the share of this turn is used up. */
  take(units: number): boolean {
    this.left -= units;
    if (!this.isArmed) this.arm();
    if (!this.isOver) return true;
    for (const sharer of this.served) this.wait(sharer);
    return false;
  }

  /** More of its body is to come. */
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
