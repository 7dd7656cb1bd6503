/** The streams of one lane by their slots: which are under way, and which can be used again. */
import { LaneStream, type StreamLane } from "./stream.js";

export class StreamTable {
  private readonly streams: LaneStream[] = [];
  private readonly free: LaneStream[] = [];

  constructor(private readonly lane: StreamLane) {}

  /** How many are under way. */
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

  /** The stream of that use of the slot; what comes for an earlier one was on its way when it ended. */
  find(id: number): LaneStream | undefined {
    const stream = this.streams[id & 0xffff];
    return stream?.id === id && stream.receiver !== undefined ? stream : undefined;
  }

  underWay(): LaneStream[] {
    return this.streams.filter((stream) => stream.receiver !== undefined);
  }

  /** Those that were sent and of which nothing was heard, in the order in which they were sent. */
  unanswered(): LaneStream[] {
    return this.underWay()
      .filter((stream) => stream.sequence > 0 && !stream.hasBegun)
      .sort((a, b) => a.sequence - b.sequence);
  }
}
