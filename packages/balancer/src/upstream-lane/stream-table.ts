/** The streams of one lane by slot: those in use, and those that are free. */
import { LaneStream, type StreamLane } from "./stream.js";

export class StreamTable {
  private readonly streams: LaneStream[] = [];
  private readonly free: LaneStream[] = [];

  constructor(private readonly lane: StreamLane) {}

  /** The number of streams in use. */
  get active(): number {
    return this.streams.length - this.free.length;
  }

  take(): LaneStream {
    return this.free.pop() ?? this.add();
  }

  private add(): LaneStream {
    const stream = new LaneStream(this.lane, this.streams.length);
    this.streams.push(stream);
    return stream;
  }

  giveBack(stream: LaneStream): void {
    this.free.push(stream);
  }

  /** Returns the stream for this use of the slot. Frames for an earlier use were still in transit. */
  find(id: number): LaneStream | undefined {
    const stream = this.streams[id & 0xffff];
    return stream?.id === id && stream.receiver !== undefined ? stream : undefined;
  }

  underWay(): LaneStream[] {
    return this.streams.filter((stream) => stream.receiver !== undefined);
  }

  /** Returns the streams that were sent and for which no frame has arrived, in sending order. */
  unanswered(): LaneStream[] {
    return this.underWay()
      .filter((stream) => stream.sequence > 0 && !stream.hasStarted)
      .sort((a, b) => a.sequence - b.sequence);
  }
}
