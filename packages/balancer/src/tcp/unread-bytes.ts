/** What waits in tcp mode for peers that do not read. It counts in the balancer's memory limit; who has read nothing for longest gives way. */
import type { BufferBudget } from "../exchange/buffer-budget.js";

/** Each connection may have so much outside the limit. */
const FREE_BYTES = 16_384;

export interface Unread {
  /** How much of the limit it has; maintained here. */
  share: number;
  /** Closes the connection, for another one. */
  giveWay(): void;
}

export class UnreadBytes {
  /** The one that has been blocked for longest is first. */
  private readonly blocked = new Set<Unread>();

  constructor(private readonly budget: Pick<BufferBudget, "take" | "give">) {}

  /** So many bytes wait for a peer. Returns false if there is no room for them. */
  block(peer: Unread, bytes: number): boolean {
    this.free(peer);
    const share = Math.max(0, bytes - FREE_BYTES);
    while (!this.budget.take(share)) {
      const [longest] = this.blocked;
      if (longest === undefined) return false;
      this.free(longest);
      longest.giveWay();
    }
    peer.share = share;
    this.blocked.add(peer);
    return true;
  }

  /** The peer has read everything, or is gone. */
  free(peer: Unread): void {
    if (!this.blocked.delete(peer)) return;
    this.budget.give(peer.share);
    peer.share = 0;
  }
}
