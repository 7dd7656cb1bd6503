/** What a client has not taken of a response: it waits in the spool, so that an instance that takes few requests at once is free sooner. */
import type { Downstream } from "../downstream/downstream.js";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import type { Spool } from "./spool/spool.js";
import { SpooledBody, type SpooledBodyOwner } from "./spool/spooled-body.js";

/** So much of a response waits in memory before any of it goes to the spool, in bytes. */
export const UNSPOOLED_BYTES = 32_768;

export interface BacklogOwner {
  /** The client does not take what it was given. */
  onClientBehind(): void;
  /** The client has all that came: what comes next goes to it directly. */
  onBacklogSent(): void;
  onBacklogLost(): void;
}

export class Backlog implements SpooledBodyOwner {
  private readonly body: SpooledBody;
  /** The upstream is not read. */
  private isPaused = false;

  constructor(
    spool: Spool,
    private readonly client: Downstream,
    private stream: UpstreamStream | undefined,
    private readonly owner: BacklogOwner,
  ) {
    this.body = new SpooledBody(spool, "response", this);
  }

  get isEmpty(): boolean {
    return this.body.isRead;
  }

  add(bytes: Uint8Array, start: number, end: number): void {
    if (this.body.append(bytes, start, end) !== "wait" || this.isPaused) return;
    this.isPaused = true;
    this.stream?.pause();
  }

  /** The upstream is done; its stream may be another request's by now. */
  end(): void {
    this.stream = undefined;
  }

  /** The client takes more. */
  pump(): void {
    this.body.pump();
  }

  close(): void {
    this.body.close();
  }

  // From the spool.

  onSpoolWritten(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.stream?.resume();
  }

  onSpooledBytes(bytes: Uint8Array, start: number, end: number): boolean {
    const isFlowing = this.client.response.body(bytes, start, end);
    if (this.client.response.flush() && isFlowing && !this.client.response.isBehind) return true;
    this.owner.onClientBehind();
    return false;
  }

  onSpoolRead(): void {
    this.owner.onBacklogSent();
    // Not before: what is resumed may send at once.
    this.onSpoolWritten();
  }

  onSpoolFailed(isLost: boolean): void {
    if (isLost) this.owner.onBacklogLost();
  }
}
