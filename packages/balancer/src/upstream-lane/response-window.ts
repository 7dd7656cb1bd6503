/**
 * Decides how many bytes of one response an instance may send before the balancer grants more. The window grows while the client accepts
 * the bytes immediately. If a client stops reading, a whole window stays in this process, so all windows share the memory that is left for
 * unread responses.
 */
import { LITTLE_BODY_BYTES, LITTLE_WINDOW_BYTES, RESPONSE_WINDOW_BYTES } from "@paceline/wire/lane/protocol";

/** With a window of one frame, the two processes would take turns, at half the speed. In bytes. */
export const MAX_WINDOW_BYTES = 1 << 20;
/** How many bytes all windows of this process together may have beyond their initial size. */
export const MAX_EXTRA_BYTES = 8 << 20;
/**
 * Until this many bytes of a response were passed on, its window can only double. The kernels of both ends take nearly as many bytes even
 * for a client that reads slowly or not at all. If the window were large by then, twenty such clients would use up the memory for unread
 * responses. On Node, the local kernel takes 4 MiB. In bytes.
 */
const UNPROVEN_BYTES = process.versions.bun === undefined ? 1 << 23 : 1 << 19;
const UNPROVEN_WINDOW_BYTES = 2 * RESPONSE_WINDOW_BYTES;
/** A client that has taken nothing for longer than this is slow, and its window shrinks. In milliseconds. */
const SLOW_MS = 50;
/**
 * The windows of long responses together get this share of the memory that is left, because over TLS bytes count twice, and other responses
 * may begin.
 */
const SHARE = 1 / 2;

let extraBytes = 0;
/**
 * The number of responses that were longer than half of their first window. All of their clients may stop reading, or fill the buffers of
 * their kernels, at the same time.
 */
let longResponses = 0;

const extraOf = (size: number) => Math.max(0, size - RESPONSE_WINDOW_BYTES);

export class ResponseWindow {
  size = RESPONSE_WINDOW_BYTES;
  /** The number of bytes that were passed on and not granted again. */
  private used = 0;
  /** The number of bytes that were granted again, up to `unprovenBytes`. */
  private passed = 0;
  private isPaused = false;
  private pausedAtMs = 0;
  private isSlow = false;
  private isLong = false;

  constructor(private readonly unprovenBytes = UNPROVEN_BYTES) {}

  /** @param isLittle whether the instance was told to start with a small window */
  begin(isLittle: boolean): void {
    if (isLittle) this.size = LITTLE_WINDOW_BYTES;
  }

  /** Starts again for another response. */
  reset(): void {
    this.resize(RESPONSE_WINDOW_BYTES);
    this.used = this.passed = 0;
    this.isPaused = false;
    this.isSlow = false;
    if (this.isLong) longResponses--;
    this.isLong = false;
  }

  private resize(size: number): void {
    extraBytes += extraOf(size) - extraOf(this.size);
    this.size = size;
  }

  /** How many bytes may be in transit. */
  get mostBytes(): number {
    return Math.max(this.size, LITTLE_BODY_BYTES);
  }

  /** Counts received bytes. Returns false if they exceed the window. */
  take(bytes: number): boolean {
    this.used += bytes;
    return this.used <= this.mostBytes;
  }

  /**
   * Called when the client takes no more bytes.
   * @param staysSmall whether few bytes should be in transit from now on
   */
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

  /**
   * Returns how many bytes to grant now; 0 until half of the window is used.
   * @param spareBytes the memory that is left for unread responses
   */
  grant(spareBytes = Number.POSITIVE_INFINITY): number {
    if (this.isPaused || this.used < this.size / 2) return 0;
    if (this.passed < this.unprovenBytes) this.passed += this.used;
    if (!this.isLong) longResponses++;
    this.isLong = true;
    const change = Math.max(this.nextSize(spareBytes) - this.size, -this.used);
    const granted = this.used + change;
    this.resize(this.size + change);
    this.used = 0;
    return granted;
  }

  private nextSize(spareBytes: number): number {
    const isProven = this.passed >= this.unprovenBytes;
    const withExtra = Math.max(this.size, RESPONSE_WINDOW_BYTES) + MAX_EXTRA_BYTES - extraBytes;
    if (isProven && !this.isSlow) return Math.min(2 * this.size, MAX_WINDOW_BYTES, withExtra);
    const share = Math.max(LITTLE_WINDOW_BYTES, Math.floor((SHARE * spareBytes) / longResponses));
    return Math.min(
      this.isSlow ? RESPONSE_WINDOW_BYTES : Math.min(2 * this.size, UNPROVEN_WINDOW_BYTES, withExtra),
      share,
    );
  }
}
