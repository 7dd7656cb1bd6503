/** Spreads spawns over turns of the event loop, so that messages of the first processes are read before the last are started. */
import type { FleetEffect } from "../core/fleet-changes.js";

/** The most processes started in one turn. */
const PER_TURN = 4;

export class SpawnTurns {
  private readonly waiting = new Map<string, FleetEffect>();
  private left = PER_TURN;
  private isScheduled = false;

  constructor(private readonly spawn: (effect: FleetEffect) => void) {}

  /** Starts the process now, or in order in a later turn if this turn has reached its limit. */
  add(effect: FleetEffect): void {
    this.waiting.set(effect.id, effect);
    this.startSome();
  }

  /** Starts a queued process at once, because something is about to be done to it. */
  startNow(id: string): void {
    const effect = this.waiting.get(id);
    if (effect === undefined) return;
    this.waiting.delete(id);
    this.spawn(effect);
  }

  private startSome(): void {
    if (!this.isScheduled) {
      this.isScheduled = true;
      setImmediate(() => this.nextTurn());
    }
    for (const [id, effect] of this.waiting) {
      if (this.left === 0) return;
      this.left--;
      this.waiting.delete(id);
      this.spawn(effect);
    }
  }

  private nextTurn(): void {
    this.isScheduled = false;
    this.left = PER_TURN;
    if (this.waiting.size > 0) this.startSome();
  }
}
