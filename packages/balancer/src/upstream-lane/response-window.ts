/** How many bytes of one response an instance may send before the balancer grants more: grows while the client takes them at once. */
import { RESPONSE_WINDOW_BYTES } from "@paceline/wire/lane/protocol";

/** With a window of one frame the two processes would take turns, at half the speed. In bytes. */
export const MAX_WINDOW_BYTES = 1 << 20;
/** What all windows of this process together may have beyond their first size: a client that stops reading leaves its window here. */
export const MAX_EXTRA_BYTES = 8 << 20;
/**
 * A window only doubles before so much of a response was passed on: the kernels of both ends take nearly as much for a client that reads slowly, or
 * not at all. Its window would be large by then, and twenty such clients would use up the memory for unread responses. On Node our kernel takes 4 MiB.
 * In bytes.
 */
const UNPROVEN_BYTES = process.versions.bun === undefined ? 1 << 23 : 1 << 19;
const UNPROVEN_WINDOW_BYTES = 2 * RESPONSE_WINDOW_BYTES;
/** A client that took nothing for longer than this is slow, and its window shrinks to the first size. */
const SLOW_MS = 50;

let extraBytes = 0;

export class ResponseWindow {
  size = RESPONSE_WINDOW_BYTES;
  /** Bytes that were passed on and not granted again. */
  private used = 0;
  /** Bytes that were granted again, up to `unprovenBytes`. */
  private passed = 0;
  private isPaused = false;
  private pausedAtMs = 0;
  private isSlow = false;

  constructor(private readonly unprovenBytes = UNPROVEN_BYTES) {}

  /** Starts with another response. */
  reset(): void {
    extraBytes -= this.size - RESPONSE_WINDOW_BYTES;
    this.size = RESPONSE_WINDOW_BYTES;
    this.used = this.passed = 0;
    this.isPaused = false;
    this.isSlow = false;
  }

  /** Counts received bytes. Returns false if they exceed the window. */
  take(bytes: number): boolean {
    this.used += bytes;
    return this.used <= this.size;
  }

  /** The client takes nothing. @param staysSmall whether little should be in transit from now on */
  pause(staysSmall = false): void {
    if (staysSmall) this.isSlow = true;
    if (this.isPaused) return;
    this.isPaused = true;
    this.pausedAtMs = performance.now();
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    if (performance.now() - this.pausedAtMs > SLOW_MS) this.isSlow = true;
  }

  /** Returns how many bytes to grant now; 0 until half of the window is used. */
  grant(): number {
    if (this.isPaused || this.used < this.size / 2) return 0;
    if (this.passed < this.unprovenBytes) this.passed += this.used;
    const change = this.isSlow ? -Math.min(this.used, this.size - RESPONSE_WINDOW_BYTES) : this.growth();
    const granted = this.used + change;
    this.size += change;
    extraBytes += change;
    this.used = 0;
    return granted;
  }

  private growth(): number {
    const mostBytes = this.passed < this.unprovenBytes ? UNPROVEN_WINDOW_BYTES : MAX_WINDOW_BYTES;
    return Math.min(this.size, mostBytes - this.size, MAX_EXTRA_BYTES - extraBytes);
  }
}
