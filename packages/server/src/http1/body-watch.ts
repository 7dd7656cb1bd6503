/** Watches request bodies on either runtime, for clients that stop sending, and for clients that leave while nobody reads the body. */

import { RunningTime } from "@paceline/wire";

const MAX_LOOK_MS = 1000;

/** A body. It is in the set while its next piece is awaited. */
export interface BodyWait<Owner> {
  readonly owner: Owner;
  /** The start of the wait. */
  since: number;
}

export class BodyWaits<Owner> {
  private readonly waits = new Set<BodyWait<Owner>>();
  private timer: NodeJS.Timeout | undefined;
  private readonly time = new RunningTime();
  private readonly everyMs: number;

  constructor(
    readonly timeoutMs: number,
    /** Called when no piece of the body arrived within the timeout. */
    private readonly onLate: (owner: Owner) => void,
  ) {
    this.everyMs = Math.min(MAX_LOOK_MS, timeoutMs);
  }

  /** Starts to wait for a piece. */
  begin(wait: BodyWait<Owner>): void {
    if (this.timer === undefined) {
      this.time.restart();
      this.timer = setInterval(() => this.look(), this.everyMs);
    }
    wait.since = this.time.current;
    this.waits.add(wait);
  }

  end(wait: BodyWait<Owner>): void {
    this.waits.delete(wait);
  }

  private look(): void {
    if (!this.time.count(performance.now(), this.everyMs)) return;
    const late = this.time.now - this.timeoutMs;
    for (const wait of this.waits) {
      if (wait.since > late) continue;
      this.waits.delete(wait);
      this.onLate(wait.owner);
    }
    if (this.waits.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}

/** How long a body stays unread before its client is checked, and the interval of the checks, in milliseconds. */
const LOOK_MS = 1000;

/** An incomplete body. */
export interface UnreadBody {
  /** Since when nobody reads the body; Infinity while it is read. */
  unreadSince: number;
}

/**
 * Watches unread bodies, because neither runtime watches a connection that it does not read. The bodies are held weakly, because an app may
 * drop a request with an unread body.
 */
export class UnreadBodies<Body extends UnreadBody> {
  private readonly bodies = new Set<WeakRef<Body>>();
  private timer: NodeJS.Timeout | undefined;

  /** @param look ends the bodies whose clients have left. It calls `isUnread` again if the check takes a while */
  constructor(private readonly look: (unread: Body[], isUnread: (body: Body) => boolean) => void | Promise<void>) {}

  add(body: Body): WeakRef<Body> {
    const held = new WeakRef(body);
    this.bodies.add(held);
    if (this.timer === undefined) {
      this.timer = setInterval(() => void this.lookAtAll(), LOOK_MS);
      this.timer.unref();
    }
    return held;
  }

  delete(held: WeakRef<Body>): void {
    this.bodies.delete(held);
  }

  private lookAtAll(): void {
    const before = performance.now() - LOOK_MS;
    const isUnread = (body: Body): boolean => body.unreadSince <= before;
    const unread: Body[] = [];
    for (const held of this.bodies) {
      const body = held.deref();
      if (body === undefined) this.bodies.delete(held);
      else if (isUnread(body)) unread.push(body);
    }
    if (this.bodies.size === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
    if (unread.length > 0) void this.look(unread, isUnread);
  }
}
