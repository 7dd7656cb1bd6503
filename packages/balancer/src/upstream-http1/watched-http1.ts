/** HTTP/1.1 connections to an instance with a lane for control beside them, which tells of silence and of leaving. */

import type { ControlLane } from "../upstream-lane/control.js";
import type { AnswerReceiver, UpstreamLink, UpstreamStream } from "../upstreams/upstream-link.js";
import type { Http1UpstreamLink } from "./http1-upstream.js";

export class WatchedHttp1Link implements UpstreamLink {
  constructor(
    private readonly http1: Http1UpstreamLink,
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

  open(receiver: AnswerReceiver, isIdempotent: boolean): UpstreamStream {
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

  countSilence(weight: number): number {
    return this.control.countSilence(weight, this.http1.isBusy);
  }

  /** HTTP/1.1 does not tell what has begun: what was sent stays. */
  shed(): void {}

  runningRequest(): string | undefined {
    return this.http1.runningRequest();
  }

  overdue(): undefined {
    return undefined;
  }
}
