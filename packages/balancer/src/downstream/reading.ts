/** Whether a client is read: it is while nothing speaks against it. */
import type { Connection } from "../transport/transport.js";

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

  constructor(private readonly connection: Connection) {}

  get isPaused(): boolean {
    return this.pauses !== 0;
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
