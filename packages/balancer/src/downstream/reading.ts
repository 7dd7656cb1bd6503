/** Whether a client is being read: only if there is no reason to pause, and within its share of turns. */
import { TurnRest } from "@paceline/wire";
import type { BufferBudget, Reader } from "../exchange/buffer-budget.js";
import type { Connection } from "../transport/transport.js";

/** The work per turn for all clients, in bytes of bodies. The first request of a read is free. */
const TURN_UNITS = 1 << 19;
/** The fixed costs in the same unit. */
export const CHUNK_UNITS = 32;
export const REQUEST_UNITS = 8192;
/** How many requests of a connection start in one turn, before other connections get theirs. */
export const MAX_TURN_REQUESTS = 32;
/** How many waiting clients continue in one turn, or fewer if they use it up. */
const MAX_TURN_SHARERS = 8;

export interface Sharer {
  /** The share is used up: the client is paused until `onTurn`. */
  onTurnOver(): void;
  /** The client may continue and no longer waits. */
  onTurn(): void;
}

/**
 * Limits the work for bodies and pipelined requests to a share of each turn of the event loop. A client determines the cost of a
 * read: sixty clients that send chunks of one byte could block all others for seconds.
 */
export class TurnShare {
  private left = TURN_UNITS;
  private isArmed = false;
  /** Clients with more input than one read; the last served one is last. */
  private readonly served = new Set<Sharer>();
  private readonly waiting = new Set<Sharer>();

  constructor(private readonly rest: Pick<TurnRest, "take"> = new TurnRest()) {}

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
    if (!this.isOver || !this.rest.take(this.goOn)) this.goOn();
  };

  private readonly goOn = (): void => {
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

/** A complete body up to this size is not counted, in units of a turn's share. */
const FREE_TURN_UNITS = 16_384;

/** Reasons to pause a client. */
export const Pause = {
  /** It has sent too much ahead of its response. */
  AHEAD: 1,
  /** Its upstream cannot take more at the moment. */
  UPSTREAM: 2,
  /** It has not read its responses. */
  UNREAD: 4,
  /** It has used up its share of this turn of the event loop. */
  TURN: 8,
  /** It sends far ahead, and the budget has no room for another read. */
  ROOM: 16,
} as const;

export class Reading implements Reader {
  /** Bits of Pause. */
  private pauses = 0;
  /** Whether it was paused at the last check for a disconnect. */
  private wasPaused = false;
  private sendsAhead = false;

  constructor(
    private readonly connection: Connection,
    private readonly budget: BufferBudget,
  ) {}

  /** Called each second: a paused client can disconnect unnoticed. @param isOwed whether a request is in progress */
  hasPeerLeft(isOwed: boolean): boolean {
    const isUnseen = isOwed && this.pauses !== 0;
    const hasLeft = isUnseen && this.wasPaused && this.connection.hasPeerLeft;
    this.wasPaused = isUnseen;
    return hasLeft;
  }

  /** Called each second for a tunnel, whose client may send FIN and stay connected. */
  lookIfReset(): void {
    if (this.pauses !== 0) this.connection.lookIfReset();
  }

  pause(reason: number): void {
    if (this.pauses === 0) this.connection.pause();
    this.pauses |= reason;
  }

  /** Marks a client that sends far ahead of its responses: it is read only while the budget has room for another read. */
  noteAhead(): void {
    this.sendsAhead = true;
  }

  resume(reasons: number): void {
    if (this.pauses === 0) return;
    this.pauses &= ~reasons;
    if (this.pauses !== 0) return;
    if (this.sendsAhead && !this.budget.mayRead(this)) this.pauses = Pause.ROOM;
    else this.connection.resume();
  }

  onRoom(): boolean {
    this.resume(Pause.ROOM);
    if (this.pauses === Pause.ROOM) return false;
    // It is paused for another reason, and will ask for room after that.
    this.budget.stopWaiting(this);
    return true;
  }

  /** Drops further input. */
  leave(): void {
    if (!this.sendsAhead) return;
    this.sendsAhead = false;
    this.budget.stopWaiting(this);
    this.resume(Pause.ROOM);
  }
}

/** A peer that can be read or not, for several reasons at once. */
interface Pausable {
  pause(reason: number): void;
  resume(reasons: number): void;
}

/** One peer's share of turns: a client's, or that of an upstream's connection. */
export class PeerTurn implements Sharer {
  /** Whether it is limited to its share: it sends a body in many pieces, or many requests. */
  isSharing = false;
  /** Whether it is paused until its next turn. */
  isWaiting = false;

  constructor(
    private readonly turnShare: TurnShare,
    private readonly reading: Pausable,
    private readonly owner: { onTurn(): void },
  ) {}

  /** Called when more of a body follows. */
  join(): void {
    this.isSharing = true;
    this.turnShare.join(this);
  }

  wait(): void {
    this.isSharing = true;
    this.turnShare.wait(this);
  }

  leave(): void {
    if (!this.isSharing) return;
    this.isSharing = this.isWaiting = false;
    this.turnShare.leave(this);
    this.reading.resume(Pause.TURN);
  }

  /** @param isWhole whether the body is complete */
  countBody(units: number, isWhole: boolean): void {
    if (!isWhole) this.join();
    if (!isWhole || units >= FREE_TURN_UNITS) this.turnShare.take(units);
    if (isWhole) this.leave();
  }

  onTurnOver(): void {
    this.isWaiting = true;
    this.reading.pause(Pause.TURN);
  }

  onTurn(): void {
    this.isSharing = this.isWaiting = false;
    this.owner.onTurn();
  }
}
