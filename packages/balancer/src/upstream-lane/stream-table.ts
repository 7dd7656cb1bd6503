/**
 * The streams of one lane by slot. Decides which requests of a stalled instance are reassigned, and how the requests of an exited one were
 * lost.
 */

import type { RunningWork } from "@paceline/wire/lane/scoreboard";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import { LaneStream, type StreamLane } from "./lane-stream.js";

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

  /** Returns the stream for this use of the slot; undefined if the frame is for an earlier use. */
  find(id: number): LaneStream | undefined {
    const stream = this.streams[id & 0xffff];
    return stream?.id === id && stream.receiver !== undefined ? stream : undefined;
  }

  underWay(): LaneStream[] {
    return this.streams.filter((stream) => stream.receiver !== undefined);
  }

  /** Returns the streams that were sent and for which no frame has arrived, in the order in which they were sent. */
  unanswered(): LaneStream[] {
    return this.underWay()
      .filter((stream) => stream.sequence > 0 && !stream.hasStarted)
      .sort((a, b) => a.sequence - b.sequence);
  }
}

/** A request that was sent and for which no frame has arrived. */
interface UnansweredRequest {
  /** Its sequence number on its lane. */
  readonly sequence: number;
  /** Whether STARTED is sent before its handler is called. */
  readonly isAnnounced: boolean;
}

type Decision =
  /** The request is not reassigned. It may be the one that stalls the instance, and would then stall the next instance too. */
  | "stays"
  /** The request is reassigned: the instance runs another request, and has not started this one. */
  | "behindStalled"
  /** The request is reassigned once, although it may have started: it may be running, or may wait for something. */
  | "uncertain";

/**
 * Returns the decision for each request.
 * @param unanswered in the order in which they were sent
 * @param work the instance's scoreboard; undefined if there is none
 * @param isAtWorkSaid whether the running request is known and is not one of `unanswered`
 */
export function decideOnStalled(
  unanswered: readonly UnansweredRequest[],
  work: RunningWork | undefined,
  isAtWorkSaid: boolean,
): Decision[] {
  switch (work?.on) {
    case "ours":
      return unanswered.map(({ sequence }) =>
        sequence >>> 0 === work.request ? "stays" : isUpTo(sequence, work.started) ? "uncertain" : "behindStalled",
      );
    case "another":
      return unanswered.map(({ sequence }) => (isUpTo(sequence, work.started) ? "uncertain" : "behindStalled"));
    case "none":
      // Requests whose handler was called have started. They may continue after a promise, or respond at the end of the turn.
      return unanswered.map(({ sequence }) => (isUpTo(sequence, work.started) ? "stays" : "behindStalled"));
    case undefined: {
      // The handler of the oldest request is called first.
      const atWork = isAtWorkSaid ? undefined : unanswered.find(({ isAnnounced }) => !isAnnounced);
      return unanswered.map((request) => (request === atWork ? "stays" : "uncertain"));
    }
  }
}

/** Compares sequence numbers that wrap around at 32 bits. */
export function isUpTo(sequence: number, last: number): boolean {
  return ((last - sequence) | 0) >= 0;
}

/** A request of an exited instance. */
interface EndedRequest extends UnansweredRequest {
  /** Whether STARTED has arrived. */
  readonly hasStarted: boolean;
}

/**
 * Returns how the exit of its instance affects a request.
 * @param work the instance's last scoreboard
 * @param isBehind whether the request may have waited for one whose client had left
 */
export function lossAtEnd(
  { sequence, isAnnounced, hasStarted }: EndedRequest,
  work: RunningWork | undefined,
  isBehind = false,
): UpstreamLoss {
  // An announced request starts only after STARTED was sent, and everything that was sent has been read.
  if (sequence === 0 || (isAnnounced && !hasStarted)) return "notStarted";
  if (work === undefined) return isBehind ? "behindAbandoned" : "closed";
  if (!hasStarted && !isUpTo(sequence, work.started)) return "notStarted";
  if (work.on === "none") return "closed";
  return work.on === "ours" && sequence >>> 0 === work.request ? "fatal" : "bystander";
}
