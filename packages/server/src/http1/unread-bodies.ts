/** Notices clients that leave while nobody reads their body: neither runtime looks at a connection that it does not read. */

/** How long a body is not read before its client is looked for, and how often that is done then, in milliseconds. */
const LOOK_MS = 1000;

/** Pieces that are taken ahead in one look, and the time for each: one may lie with Bun, one in the kernel, and then comes the end. */
const AHEAD_PIECES = 4;
const AHEAD_MS = 20;

/** A body that is not all there. */
export interface UnreadBody {
  /** Since when nobody asks for more of it; Infinity while somebody does. */
  unreadSince: number;
  /** On Node: ends the connection when its client has left. */
  look?(): void;
  /** On Bun: takes a piece more than was asked for, if there is room, so that the end behind it comes to light. */
  readAhead?(): void;
}

/** Holds them weakly: an app may drop a request with its body unread. */
export class UnreadBodies {
  private readonly bodies = new Set<WeakRef<UnreadBody>>();
  private timer: NodeJS.Timeout | undefined;
  private leftPeers: (() => number) | undefined;

  add(body: UnreadBody): WeakRef<UnreadBody> {
    const held = new WeakRef(body);
    this.bodies.add(held);
    if (this.timer === undefined) {
      this.timer = setInterval(() => void this.look(), LOOK_MS);
      this.timer.unref();
    }
    return held;
  }

  delete(held: WeakRef<UnreadBody>): void {
    this.bodies.delete(held);
  }

  private async look(): Promise<void> {
    const unread: UnreadBody[] = [];
    const before = performance.now() - LOOK_MS;
    for (const held of this.bodies) {
      const body = held.deref();
      if (body === undefined) this.bodies.delete(held);
      else if (body.unreadSince <= before) unread.push(body);
    }
    if (this.bodies.size === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
    if (unread.length === 0) return;
    if (process.versions.bun === undefined) {
      for (const body of unread) body.look?.();
      return;
    }
    // Bun tells no request's descriptor: while one of the connections has ended, all that are not read are, a piece each.
    this.leftPeers ??= (await import("./left-peers.js")).countLeftPeers;
    for (let i = 0; i < AHEAD_PIECES && this.leftPeers() > 0; i++) {
      for (const body of unread) if (body.unreadSince <= before) body.readAhead?.();
      await new Promise((resolve) => setTimeout(resolve, AHEAD_MS));
    }
  }
}
