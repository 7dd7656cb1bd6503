/** Whether a client is being read: only if there is no reason to pause. */
import type { BufferBudget, Reader } from "../exchange/buffer-budget.js";
import type { Connection } from "../transport/transport.js";
import type { Sharer, TurnShare } from "./turn-share.js";

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

/** One client's share of turns (turn-share.ts). */
export class ClientTurn implements Sharer {
  /** Whether it is limited to its share: it sends a body in many pieces, or many requests. */
  isSharing = false;
  /** Whether it is paused until its next turn. */
  isWaiting = false;

  constructor(
    private readonly turnShare: TurnShare,
    private readonly reading: Reading,
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

  /** Returns false if the share of this turn is used up. */
  take(units: number): boolean {
    return this.turnShare.take(units);
  }

  /** @param isWhole whether the body is complete */
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
