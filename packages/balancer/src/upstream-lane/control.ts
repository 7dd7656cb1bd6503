/** The lane beside the HTTP/1.1 connections to an instance whose app is a Node handler: for control alone. */
import { LaneConnection, type LaneConnectionServices } from "./lane-connection.js";

export class ControlLane extends LaneConnection {
  constructor(services: LaneConnectionServices, path: string) {
    super(services, path);
    this.connect();
  }

  /** Called at each tick; returns the silent ones in a row. @param isBusy requests are under way */
  countStall(weight: number, isBusy: boolean): number {
    // One that was silent stays so without requests, lest the next request finds it out anew.
    if (this.state === "closed" || !(isBusy || this.stallCount.isAwaiting)) return 0;
    return this.tickStall(weight, false);
  }

  close(): void {
    if (this.state !== "closed") this.drop();
  }

  protected onOpen(): void {}

  protected onStreamFrame(type: number, _id: number, bytes: Buffer, start: number, end: number): void {
    this.onLaneFrame(type, bytes, start, end);
  }

  protected onStreamBody(): void {
    this.break("a body, which has no place on a lane for control");
  }

  // Without it the instance is only not watched: its requests go their own way.
  protected onRefused(): void {}
  protected onLost(): void {}
  protected onBroken(): void {}
}
