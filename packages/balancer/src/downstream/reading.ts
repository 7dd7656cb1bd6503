/** Whether a client is read: it is while nothing speaks against it. */
import type { Connection } from "../transport/transport.js";
import type { Sharer, TurnShare } from "./turn-share.js";

/** A body that came whole and is no more work than this is not counted, in units of a turn's share. */
const FREE_TURN_UNITS = 16_384;

/** Why a client is read no more for now. */
export const Pause = {
  /** It sent more ahead of its answer than is kept. */
  AHEAD: 1,
  /** Its upstream cannot take more yet. */
  UPSTREAM: 2,
  /** It has not read its answers. */
  UNREAD: 4,
  /** It had its share of this turn of the event loop. */
  TURN: 8,
} as const;

export class Reading {
  /** Bits of Pause. */
  private pauses = 0;
  /** It was paused at the last look for a client that leaves. */
  private wasPaused = false;

  constructor(private readonly connection: Connection) {}

  /** Called each second: a client that is not read leaves unseen. @param isOwed whoever leaves now gives its request up */
  hasPeerLeft(isOwed: boolean): boolean {
    const isUnseen = isOwed && this.pauses !== 0;
    const hasLeft = isUnseen && this.wasPaused && this.connection.hasPeerLeft;
    this.wasPaused = isUnseen;
    return hasLeft;
  }

  pause(reason: number): void {
    if (this.pauses === 0) this.connection.pause();
    this.pauses |= reason;
  }

  resume(reasons: number): void {
    if (this.pauses === 0) return;
    this.pauses &= ~reasons;
    if (this.pauses === 0) this.connection.resume();
  }
}

/** One client's part in the share of turns (turn-share.ts). */
export class ClientTurn implements Sharer {
  /** It is bound to its part: a body of many pieces, or the next of many requests. */
  isSharing = false;

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
    this.isSharing = false;
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
    this.reading.pause(Pause.TURN);
  }

  onTurn(): void {
    this.isSharing = false;
    this.owner.onTurn();
  }
}
