/** A queue, first in first out, whose members may leave from the middle; whoever adds to it keeps its bound. */

/** Something that waits its turn. */
export interface Waiter {
  /** False when it gave up or was served otherwise; it is passed over then. */
  readonly isWaiting: boolean;
}

export class Queue<W extends Waiter> {
  private waiters: W[] = [];
  private head = 0;

  /** Waiters in the queue, those that gave up since the last look included. */
  get length(): number {
    return this.waiters.length - this.head;
  }

  add(waiter: W): void {
    this.waiters.push(waiter);
  }

  /** The first that still waits, left in its place. */
  peek(): W | undefined {
    while (this.head < this.waiters.length) {
      const waiter = this.waiters[this.head] as W;
      if (waiter.isWaiting) return waiter;
      this.removeFirst();
    }
    return undefined;
  }

  removeFirst(): void {
    if (this.head >= this.waiters.length) return;
    this.head++;
    if (this.head === this.waiters.length) {
      this.waiters.length = 0;
      this.head = 0;
    } else if (this.head > 1024 && this.head * 2 > this.waiters.length) {
      this.dropGone();
    }
  }

  /** Forgets those that gave up. */
  dropGone(): void {
    this.waiters = this.waiters.slice(this.head).filter((waiter) => waiter.isWaiting);
    this.head = 0;
  }
}
