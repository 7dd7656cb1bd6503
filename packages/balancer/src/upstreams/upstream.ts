/** An instance as the balancer sees it: one process, its connections, and what was counted of it. */
import { Histogram, type UpstreamStats } from "@paceline/wire";
import type { Deadlines } from "../deadlines.js";
import type { ResponseReceiver, UpstreamClient, UpstreamStream } from "./upstream-client.js";

/** So many ticks of silence, half a second, and it is told what the upstream is running. */
const SILENT_TICKS = 32;

/** What is lost within so many milliseconds was lost by the same end. */
const SAME_LOSS_MS = 1000;

interface Answers {
  errorsTotal: number;
  latency: Histogram;
}

export class Upstream {
  inFlight = 0;
  /** Requests sent to it, since this process knew it. */
  requestsTotal = 0;
  /** Nothing is heard of it while others answer. */
  isStalled = false;
  /** Requests in flight that may be what ended another process. */
  retriedStarts = 0;
  private isLeaving = false;
  /** In milliseconds of `Deadlines.now`; Infinity while it does not leave. */
  private leavingSince = Number.POSITIVE_INFINITY;
  /** When a request was lost here last, in milliseconds of `Deadlines.now`. */
  private lossAt = Number.NEGATIVE_INFINITY;
  private wereSeveralLost = false;
  /** Its responses, where it does not count them itself. */
  private readonly responses: Answers | undefined;

  constructor(
    /** The process, such as `web.3#7`. */
    readonly id: string,
    /** The slot, such as `web.3`. */
    readonly name: string,
    private readonly link: UpstreamClient,
    isForeign = false,
  ) {
    if (isForeign) this.responses = { errorsTotal: 0, latency: new Histogram() };
  }

  /** A response of it is finished. */
  answered(status: number, milliseconds: number): void {
    const { responses } = this;
    if (responses === undefined) return;
    if (status >= 500) responses.errorsTotal++;
    responses.latency.record(milliseconds * 1000);
  }

  /** What was counted; latencies since the last call. */
  takeStats(): UpstreamStats {
    const { id, inFlight, requestsTotal, responses } = this;
    const running = this.stallCount >= SILENT_TICKS ? this.link.runningRequest() : undefined;
    const overdue = this.link.overdue();
    const counted = {
      ...{ id, inFlight, requestsTotal },
      ...(running !== undefined && { running }),
      ...(overdue !== undefined && { overdue }),
    };
    return responses === undefined
      ? counted
      : { ...counted, errorsTotal: responses.errorsTotal, latency: responses.latency.takeSparse() };
  }

  /** Whether it may be picked for a request that is idempotent or not. */
  isAvailable(isIdempotent: boolean): boolean {
    return !this.isLeaving && this.link.hasRoom(isIdempotent);
  }

  /** Ticks in a row in which it was asked and not heard. */
  stallCount = 0;

  countStall(weight: number): number {
    this.stallCount = this.link.countStall(weight);
    return this.stallCount;
  }

  /** Gives back what it has not begun. */
  reassign(): void {
    this.link.reassign();
  }

  get connections(): number {
    return this.link.connections;
  }

  /** Begins a request; `release` ends it, however it went. */
  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream {
    this.inFlight++;
    if (receiver.mayHaveStartedElsewhere) this.retriedStarts++;
    return this.link.open(receiver, isIdempotent);
  }

  /** @param mayHaveStarted as it was when the request was opened */
  release(mayHaveStarted: boolean): void {
    this.inFlight--;
    if (mayHaveStarted) this.retriedStarts--;
  }

  /** It has been leaving for a while, so that it drains and is ended in time; one that is hung leaves and is ended at once. */
  isDraining(now: number): boolean {
    return now - this.leavingSince > SAME_LOSS_MS;
  }

  /** A request was lost here; false when it was not the only one. To be called before its `release`. */
  noteLoss(now: number): boolean {
    if (now - this.lossAt > SAME_LOSS_MS) this.wereSeveralLost = this.inFlight > 1;
    this.lossAt = now;
    return !this.wereSeveralLost;
  }

  sweep(deadlines: Deadlines, idleTimeoutMs: number): void {
    this.link.closeIdleSince(deadlines.now - idleTimeoutMs);
  }

  /** Takes no new request; `onEmpty` comes when its last connection is closed. */
  leave(now: number, onEmpty: () => void): void {
    this.isLeaving = true;
    this.leavingSince = now;
    this.link.leave(onEmpty);
  }
}
