/**
 * Handles an instance that stalls, or whose handler runs for long: finds the request that the instance is running, and moves the other
 * requests to other instances.
 */
import { FrameType, RESPONSE_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import { type RunningWork, readScoreboard } from "@paceline/wire/lane/scoreboard";
import { STALL_TICK_MS } from "../upstreams/stall-watch.js";
import { LaneConnection } from "./lane-connection.js";
import type { LaneStream } from "./lane-stream.js";
import { MAX_EXTRA_BYTES } from "./response-window.js";
import { decideOnStalled, isUpTo, type StreamTable } from "./stream-table.js";

export abstract class LaneStalls extends LaneConnection {
  protected abstract readonly streams: StreamTable;
  /** The number of requests that were sent and for which no frame has arrived. */
  protected unanswered = 0;
  private readonly sentAtTicks = new SentAtTicks();
  /** The number of requests sent on the current lane. */
  protected sequence = 0;
  /** Bytes that may still arrive for cancelled streams. */
  protected bytesOfCancelled = 0;
  /** The number of replies to CANCEL and WITHDRAW that have not arrived. */
  protected owedCancelled = 0;
  /** The number of this lane in the instance's scoreboard; 0 without one. */
  protected number = 0;
  protected abstract maxStreams: number;
  /** The request that the instance is running now: its last frame was STARTED. */
  protected atWork: LaneStream | undefined;
  /**
   * Without a scoreboard: a request whose client has left, and which the instance may be running until it sends a frame; empty if it may be
   * any one of several.
   */
  protected leftAtWork: string | undefined;

  protected override connect(): void {
    this.atWork = this.leftAtWork = undefined;
    this.sequence = this.bytesOfCancelled = this.owedCancelled = 0;
    this.sentAtTicks.clear();
    super.connect();
  }

  /** One of the requests without a frame may be running. */
  get notStarted(): number {
    return Math.max(0, this.unanswered - 1);
  }

  countStall(weight: number): number {
    // A stalled instance stays stalled while it has no requests. Otherwise the next request would have to detect the stall.
    if (this.state === "closed" || (this.streams.active === 0 && !this.stallCount.isAwaiting)) return 0;
    // STARTED of one request says nothing about other requests that were sent with it.
    const ticks = this.tickStall(weight, this.unanswered > 0);
    // If the tick is late, the instance may not be the cause.
    if (weight === 1) this.moveWaiting();
    return ticks;
  }

  /** Moves requests that have waited behind a running handler for longer than most requests of their pool take. */
  private moveWaiting(): void {
    this.sentAtTicks.tick(this.sequence);
    const { moveAfterMs } = this.work;
    if (moveAfterMs === Number.POSITIVE_INFINITY || this.notStarted === 0) return;
    const unanswered = this.streams.unanswered();
    const upTo = this.sentAtTicks.before(Math.ceil(moveAfterMs / STALL_TICK_MS));
    if (upTo === 0 || unanswered[0] === undefined || unanswered[0].sequence > upTo) return;
    for (const stream of waitingFor(unanswered, readScoreboard(this.path, this.number), upTo)) {
      if (stream.receiver?.canReassign !== true) continue;
      this.sendCancel(stream);
      stream.lose("behindStalled");
    }
    this.output.flushSoon();
  }

  /** Reassigns the requests of a stalled instance that have not started: idempotent ones at once, others when the instance confirms it. */
  reassign(): void {
    for (const stream of this.streams.underWay()) {
      if (stream.state === "connecting" && stream.receiver?.canReassign === true) stream.lose("refused");
    }
    const unanswered = this.streams.unanswered();
    const work = readScoreboard(this.path, this.number);
    const decisions = decideOnStalled(unanswered, work, this.atWork?.receiver !== undefined);
    for (const [at, stream] of unanswered.entries()) {
      const decision = decisions[at];
      const { receiver } = stream;
      const mayGo = decision === "uncertain" && stream.isIdempotent ? receiver?.canRunAgain : receiver?.canReassign;
      if (decision === "stays" || mayGo !== true) continue;
      if (!stream.isIdempotent) {
        stream.isWithdrawn = true;
        this.owedCancelled++;
        this.output.frames.empty(FrameType.WITHDRAW, stream.id);
        continue;
      }
      this.sendCancel(stream);
      stream.lose(decision === "behindStalled" ? "behindStalled" : "stalled");
    }
    this.output.flushSoon();
  }

  protected sendCancel(stream: LaneStream): void {
    const most = this.maxStreams * RESPONSE_WINDOW_BYTES + MAX_EXTRA_BYTES;
    this.bytesOfCancelled = Math.min(this.bytesOfCancelled + stream.responseWindow.mostBytes, most);
    this.owedCancelled++;
    this.output.frames.empty(FrameType.CANCEL, stream.id);
  }

  runningRequest(): string | undefined {
    if (this.leftAtWork !== undefined) return this.leftAtWork || undefined;
    const work = readScoreboard(this.path, this.number);
    const stream =
      work?.on === "ours"
        ? this.streams.underWay().find(({ sequence }) => sequence >>> 0 === work.request)
        : work === undefined
          ? this.onlyCandidate()
          : undefined;
    return stream?.receiver?.request.describe();
  }

  /** Without a scoreboard: returns the request that sent STARTED last, or the only one there is. */
  private onlyCandidate(): LaneStream | undefined {
    if (this.atWork?.receiver !== undefined) return this.atWork;
    const [first, ...others] = this.streams.underWay();
    return others.length === 0 ? first : undefined;
  }

  /** Notes a request whose client leaves, if the instance may be running it. */
  protected noteLeft(stream: LaneStream): void {
    const { atWork } = this;
    if (this.leftAtWork !== undefined || (atWork?.receiver !== undefined && atWork !== stream)) return;
    this.leftAtWork = this.onlyCandidate() === stream ? stream.receiver?.request.describe() : "";
  }
}

/** How many ticks are remembered. Requests that may wait longer than that are left to the stall detector. */
const MAX_TICKS = 64;

/** Remembers how many requests a lane had sent at each of the last ticks. */
export class SentAtTicks {
  private readonly sequences: number[] = [];
  private at = 0;

  /** @param sequence the number of requests sent so far */
  tick(sequence: number): void {
    this.sequences[this.at] = sequence;
    this.at = (this.at + 1) % MAX_TICKS;
  }

  /** Returns the number of requests that had been sent `ticks` ticks before the last one; 0 if it is not known. */
  before(ticks: number): number {
    if (ticks >= MAX_TICKS) return 0;
    return this.sequences[(this.at - 1 - ticks + 2 * MAX_TICKS) % MAX_TICKS] ?? 0;
  }

  clear(): void {
    this.sequences.length = this.at = 0;
  }
}

interface WaitingRequest {
  /** Its sequence number on its lane. */
  readonly sequence: number;
  readonly isIdempotent: boolean;
}

/**
 * Returns the idempotent requests that certainly wait behind the running handler of another request, and have waited long enough.
 * @param unanswered in the order in which they were sent
 * @param upTo the sequence number of the last request that has waited long enough
 */
export function waitingFor<Request extends WaitingRequest>(
  unanswered: readonly Request[],
  work: RunningWork | undefined,
  upTo: number,
): Request[] {
  // An instance that runs no handler starts them as soon as it gets the CPU.
  if (work === undefined || work.on === "none") return [];
  return unanswered.filter(
    ({ sequence, isIdempotent }) => isIdempotent && isUpTo(sequence, upTo) && !isUpTo(sequence, work.started),
  );
}
