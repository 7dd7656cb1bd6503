/** HTTP/1.1 connections to an instance with a lane for control beside them, which tells of silence and of leaving. */

import type { ControlLane } from "../upstream-lane/control.js";
import type { ResponseReceiver, UpstreamClient, UpstreamStream } from "../upstreams/upstream-client.js";
import type { Http1UpstreamClient } from "./http1-upstream.js";

export class WatchedHttp1Client implements UpstreamClient {
  constructor(
    private readonly http1: Http1UpstreamClient,
    private readonly control: ControlLane,
    /** Work is under way: silence counts from here. */
    private readonly onBusy: () => void,
  ) {}

  get connections(): number {
    return this.http1.connections;
  }

  hasRoom(): boolean {
    return !this.control.isGoingAway && this.http1.hasRoom();
  }

  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream {
    this.onBusy();
    return this.http1.open(receiver, isIdempotent);
  }

  closeIdleSince(atMs: number): void {
    this.http1.closeIdleSince(atMs);
  }

  leave(onEmpty: () => void): void {
    this.http1.leave(() => {
      this.control.close();
      onEmpty();
    });
  }

  countStall(weight: number): number {
    return this.control.countStall(weight, this.http1.isBusy);
  }

  /** HTTP/1.1 does not tell what has begun: what was sent stays. */
  reassign(): void {}

  runningRequest(): string | undefined {
    return this.http1.runningRequest();
  }

  overdue(): undefined {
    return undefined;
  }
}
