/** Whether a client is read: it is while nothing speaks against it. */
import type { BufferBudget, Reader } from "../exchange/buffer-budget.js";
import type { Connection } from "../transport/transport.js";
import type { Sharer, TurnShare } from "./turn-share.js";

/** A body that came whole and is no more work than this is not counted, in units of a turn's share. */
const FREE_TURN_UNITS = 16_384;

/** Why a client is read no more for now. */
export const Pause = {
  /** It sent more ahead of its response than is kept. */
  AHEAD: 1,
  /** Its upstream cannot take more yet. */
  UPSTREAM: 2,
  /** It has not read its responses. */
  UNREAD: 4,
  /** It had its share of this turn of the event loop. */
  TURN: 8,
  /** It sends far ahead, and there is no room for another read. */
  ROOM: 16,
} as const;

export class Reading implements Reader {
  /** Bits of Pause. */
  private pauses = 0;
  /** It was paused at the last look for a client that leaves. */
  private wasPaused = false;
  private sendsAhead = false;

  constructor(
    private readonly connection: Connection,
    private readonly budget: BufferBudget,
  ) {}

  /** Called each second: a client that is not read leaves unseen. @param isOwed whoever leaves now gives its request up */
  hasPeerLeft(isOwed: boolean): boolean {
    const isUnseen = isOwed && this.pauses !== 0;
    const hasLeft = isUnseen && this.wasPaused && this.connection.hasPeerLeft;
    this.wasPaused = isUnseen;
    return hasLeft;
  }

  /** Called each second for a tunnel, whose client may send FIN and stay. */
  lookIfReset(): void {
    if (this.pauses !== 0) this.connection.lookIfReset();
  }

  pause(reason: number): void {
    if (this.pauses === 0) this.connection.pause();
    this.pauses |= reason;
  }

  /** It sends far ahead of its responses: from now on it is read only while there is room for what that brings. */
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
    // Something else speaks against it, and will ask for room when it is over.
    this.budget.stopWaiting(this);
    return true;
  }

  /** What else it sends is dropped. */
  leave(): void {
    if (!this.sendsAhead) return;
    this.sendsAhead = false;
    this.budget.stopWaiting(this);
    this.resume(Pause.ROOM);
  }
}

/** One client's part in the share of turns (turn-share.ts). */
export class ClientTurn implements Sharer {
  /** It is bound to its part: a body of many pieces, or the next of many requests. */
  isSharing = false;
  /** It is not read until its next turn. */
  isWaiting = false;

  constructor(
    private readonly turnShare: TurnShare,
    private readonly reading: Reading,
    private readonly owner: { onTurn(): void },
  ) {}

  /** More of its body is to come. */
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

  /** False: the share of this turn is used up. */
  take(units: number): boolean {
    return this.turnShare.take(units);
  }

  /** @param isWhole no more of the body is to come */
  countBody(units: number, isWhole: boolean): void {
    if (!isWhole) this.join();
    if (!isWhole || units >= FREE_TURN_UNITS) this.take(units);
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
