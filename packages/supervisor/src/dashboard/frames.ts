/** Decides when to draw: at once for who presses a key, and seldom for what changes by itself. */

/** Two frames a second are enough for numbers that change once a second. */
const FRAME_MS = 500;
/** Keys that repeat are drawn together. */
const KEY_FRAME_MS = 30;

export class Frames {
  private timer: NodeJS.Timeout | undefined;
  private dueAt = Number.POSITIVE_INFINITY;
  private drawnAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly draw: () => void) {}

  /** Draws soon; `urgent` when somebody waits for it. */
  request(urgent: boolean): void {
    const now = performance.now();
    const dueAt = Math.max(now, this.drawnAt + (urgent ? KEY_FRAME_MS : FRAME_MS));
    if (dueAt >= this.dueAt) return;
    clearTimeout(this.timer);
    this.dueAt = dueAt;
    this.timer = setTimeout(() => this.now(), dueAt - now);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.dueAt = Number.NEGATIVE_INFINITY;
  }

  private now(): void {
    this.dueAt = Number.POSITIVE_INFINITY;
    this.drawnAt = performance.now();
    this.draw();
  }
}
