/** An instance as the balancer sees it: one process, its connections and its figures. */
import { Histogram, STATUS_CLASSES, type UpstreamStats } from "@paceline/wire";
import type { Deadlines } from "../deadlines.js";
import { JudgedCounts } from "../stats/judged.js";
import { ABANDONED, classOf } from "../stats/route-counts.js";
import type { Connector } from "../transport/transport.js";
import type { Ejection } from "./ejection.js";
import type { PeakLatency } from "./pace.js";
import { Pace } from "./pace.js";
import type { SharedCounts } from "./shared-counts.js";
import type {
  ResponseReceiver,
  TcpConnections,
  UpstreamClient,
  UpstreamLoss,
  UpstreamStream,
} from "./upstream-client.js";
import type { Vitals } from "./vitals.js";

/** If nothing arrives from an upstream for this many ticks, half a second, the request that it runs is reported. */
const RUNNING_TICKS = 32;

/** Losses within this many milliseconds count as one, with the same cause. */
const SAME_LOSS_MS = 1000;

interface ResponseFigures {
  errorsTotal: number;
  latency: Histogram;
}

export class Upstream {
  inFlight = 0;
  /** The number of requests sent to it since this process has known it. */
  requestsTotal = 0;
  /** The number of its requests without a response, and the minimum of that number in this period and in the previous one. */
  private awaited = 0;
  private fewestAwaited = 0;
  private fewestBefore = 0;
  /** Whether nothing arrived from the upstream while others responded. */
  isStalled = false;
  /** Whether the upstream has been stalled for longer than its sticky clients wait. */
  isStalledLong = false;
  /** How long its requests take. */
  readonly pace = new Pace();
  /** When it was last picked because of its free event loop, in milliseconds of `performance.now`. */
  pickedAtMs = Number.NEGATIVE_INFINITY;
  /** The number of its slot. */
  readonly slot: number;
  /** The number of requests in flight that may have crashed another process. */
  retriedStarts = 0;
  /** Its share of the turns, relative to the other weights of its pool: above 0, including the factor of a slow start. */
  weight = 1;
  private fullWeight = 1;
  private startFactor = 1;
  /** The maximum number of requests that all balancers together may have at this upstream; `leavesRoom` has the exception. */
  maxInFlight = Number.POSITIVE_INFINITY;
  /** The requests of other balancers at this upstream; undefined if unknown. */
  others: SharedCounts | undefined;
  /** How fast it responds; set if its pool's policy needs it. */
  latency: PeakLatency | undefined;
  /** Whether it is a canary of a deploy. */
  isCanary = false;
  /** Why the upstream gets no new requests, as a sum of `OutOfTurn`. Its pool decides the consequences. */
  reasons = 0;
  /** Whether the upstream gets no new requests because of these reasons. */
  isOutOfTurn = false;
  /** The cookie value that the upstream's clients get if its pool has one, and another value by which they are recognized. */
  cookie: string | undefined;
  alsoCookie: string | undefined;
  /** Set while the upstream is drained; called when its last request has ended. */
  onIdle: (() => void) | undefined;
  private finishedSince = 0;
  /** Its responses since this process has known it, by STATUS_CLASSES. */
  private readonly statuses = new Uint32Array(STATUS_CLASSES.length);
  /** How many of these responses were in the last report. */
  private reported = 0;
  private isLeaving = false;
  /** Since when the upstream is leaving, in milliseconds of `Deadlines.now`; Infinity if it is not leaving. */
  leavingSince = Number.POSITIVE_INFINITY;
  /** When a request was last lost here, in milliseconds of `Deadlines.now`. */
  private lossAt = Number.NEGATIVE_INFINITY;
  private wereSeveralLost = false;
  /** The figures of its responses; set if it does not report them itself. */
  private readonly responses: ResponseFigures | undefined;
  /** Its counts for the ejection; undefined if its pool ejects no upstreams. */
  vitals: Vitals | undefined;
  /** How many of the operator's readmissions of its slot have taken effect. */
  readmits = 0;
  /** Set while it is ejected for its health. */
  ejection: Ejection | undefined;
  /** Whether its health checks fail. */
  failsChecks = false;
  /** Set while a release of its pool is being judged. */
  private judged: JudgedCounts | undefined;

  constructor(
    /** The process, for example `web.3#7`. */
    readonly id: string,
    /** The slot, for example `web.3`. */
    readonly name: string,
    private readonly client: UpstreamClient,
    /** Whether the upstream is a program, which reports no figures. */
    readonly isForeign = false,
  ) {
    this.slot = Number(name.slice(name.lastIndexOf(".") + 1));
    if (isForeign) this.responses = { errorsTotal: 0, latency: new Histogram() };
  }

  /** The number of requests in flight at this upstream, of all balancers as far as they are known. */
  get load(): number {
    return this.others === undefined ? this.inFlight : this.inFlight + this.others.inFlight;
  }

  /** Whether it only has long-lasting requests, such as long polls and long responses: these do not show that its event loop is busy. */
  get isIdle(): boolean {
    return this.awaited <= Math.min(this.fewestAwaited, this.fewestBefore);
  }

  /** Called about ten times per second: a request that takes longer than one or two periods counts as long-lasting. */
  beginPeriod(): void {
    this.fewestBefore = this.fewestAwaited;
    this.fewestAwaited = this.awaited;
  }

  private awaitLess(): void {
    if (--this.awaited < this.fewestAwaited) this.fewestAwaited = this.awaited;
  }

  /**
   * Called when the head of a response has arrived.
   * @param micros how long the request took, in microseconds
   */
  responded(micros: number): void {
    this.awaitLess();
    this.pace.add(micros);
  }

  /** The value of `home` in the bindings of its sticky clients. */
  get home(): number {
    return this.isCanary ? -this.slot : this.slot;
  }

  /** Starts or stops counting its responses by route class. */
  countForVerdict(isJudged: boolean): void {
    this.judged = isJudged ? (this.judged ?? new JudgedCounts()) : undefined;
  }

  /** Counts a finished response. */
  countResponse(status: number, milliseconds: number, request: { readonly routeClass: number }): void {
    this.finishedSince++;
    this.countStatus(classOf(status));
    this.judged?.countResponse(request.routeClass, status, milliseconds);
    this.vitals?.countResponse(status, milliseconds);
    const { responses } = this;
    if (responses === undefined) return;
    if (status >= 500) responses.errorsTotal++;
    responses.latency.record(milliseconds * 1000);
  }

  /**
   * Counts a response that was cut off for another reason than this upstream. Its duration and its failure do not count for the upstream.
   */
  cutOff(status: number): void {
    this.finishedSince++;
    this.countStatus(classOf(status));
  }

  /** Counts a request that was abandoned after this time, before its response. */
  abandoned(milliseconds: number, request: { readonly routeClass: number }): void {
    this.countStatus(ABANDONED);
    this.judged?.abandoned(request.routeClass, milliseconds);
  }

  private countStatus(at: number, more = 1): void {
    this.statuses[at] = (this.statuses[at] as number) + more;
  }

  /** Called when its process has returned to the pool as `next`, which continues its counts. */
  handCountsTo(next: Upstream): void {
    next.requestsTotal += this.requestsTotal;
    this.requestsTotal = 0;
    for (const [at, count] of this.statuses.entries()) next.countStatus(at, count);
    this.statuses.fill(0);
    if (this.responses === undefined || next.responses === undefined) return;
    next.responses.errorsTotal += this.responses.errorsTotal;
    this.responses.errorsTotal = 0;
  }

  private get countedResponses(): number {
    return this.statuses.reduce((sum, count) => sum + count, 0);
  }

  /** Whether it has unreported responses. */
  get hasNews(): boolean {
    return this.countedResponses !== this.reported;
  }

  /** Counts a request that was lost here after it was sent. */
  countLost(): void {
    this.judged?.lose();
  }

  /** Returns the number of finished responses since the last call. */
  takeFinished(): number {
    const { finishedSince } = this;
    this.finishedSince = 0;
    return finishedSince;
  }

  /** Returns its figures, with latencies since the last call. @param now in milliseconds of `Deadlines.now` */
  takeStats(now: number): UpstreamStats {
    const { id, inFlight, requestsTotal, responses, judged, ejection, statuses } = this;
    const running = this.stallCount >= RUNNING_TICKS ? this.client.runningRequest() : undefined;
    const overdue = this.client.overdue();
    this.reported = this.countedResponses;
    const counted = {
      ...{ id, inFlight, requestsTotal },
      ...(statuses.some((count) => count > 0) && { statuses: [...statuses] }),
      ...(running !== undefined && { running }),
      ...(overdue !== undefined && { overdue }),
      ...(ejection !== undefined && { ejected: ejectedStats(ejection, now) }),
      ...((ejection !== undefined || this.failsChecks) && !this.isOutOfTurn && { servesAnyway: true }),
      ...(judged !== undefined && { judged: judged.take() }),
    };
    return responses === undefined
      ? counted
      : { ...counted, errorsTotal: responses.errorsTotal, latency: responses.latency.takeSparse() };
  }

  /** Sets its weight without a slow start. Since `weight` changes, the caller must notify its pool (`turnsChanged`). */
  setWeight(weight: number): void {
    this.fullWeight = weight;
    this.weight = weight * this.startFactor;
  }

  /**
   * Sets the factor of a slow start for its weight: above 0, and 1 at the end. Returns whether its weight has changed; if so, the caller
   * must notify its pool.
   */
  setStartFactor(factor: number): boolean {
    const before = this.weight;
    this.startFactor = factor;
    this.weight = this.fullWeight * factor;
    return this.weight !== before;
  }

  /** Adds a reason to be out of turn. Returns whether that changes something; if so, the caller must notify its pool (`turnsChanged`). */
  putOut(reason: number): boolean {
    const before = this.reasons;
    this.reasons |= reason;
    return this.reasons !== before;
  }

  /** Removes a reason to be out of turn; the reverse of `putOut`. */
  putBack(reason: number): boolean {
    const before = this.reasons;
    this.reasons &= ~reason;
    return this.reasons !== before;
  }

  /** Whether the upstream may be picked for a request, depending on whether the request is idempotent. */
  isAvailable(isIdempotent: boolean): boolean {
    return !this.isLeaving && !this.isOutOfTurn && this.client.hasRoom(isIdempotent);
  }

  /** Whether the upstream is not available but will be soon. A request that has to wait anyway may wait there. */
  get endsSoon(): boolean {
    return !this.isLeaving && !this.isOutOfTurn && this.client.endsSoon === true;
  }

  /** The number of consecutive stalled ticks. */
  stallCount = 0;

  countStall(weight: number): number {
    this.stallCount = this.client.countStall(weight);
    return this.stallCount;
  }

  /** Reassigns requests that have not started. */
  reassign(): void {
    this.client.reassign();
  }

  get connections(): number {
    return this.client.connections;
  }

  get pending(): number {
    return this.client.pending;
  }

  get notStarted(): number {
    return this.client.notStarted;
  }

  get isBatched(): boolean {
    return this.client.isBatched === true;
  }

  get isLoopRunning(): boolean {
    return this.client.isLoopRunning === true;
  }

  get returnedAtMs(): number {
    return this.client.returnedAtMs ?? Number.NEGATIVE_INFINITY;
  }

  /** Set in tcp mode. */
  get tcp(): TcpConnections | undefined {
    return this.client.tcp;
  }

  /** Opens a connection for a client in tcp mode. It must be ended with `release` and `tcp.closed` in every case. */
  connect(connector: Connector): void {
    this.inFlight++;
    this.awaited++;
    this.share();
    this.client.tcp?.connect(connector);
  }

  /** Starts a request. It must be ended with `release` in every case. */
  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream {
    this.inFlight++;
    this.awaited++;
    if (receiver.mayHaveStartedElsewhere) this.retriedStarts++;
    const { others } = this;
    if (others !== undefined) {
      if (this.inFlight === 1) others.sent();
      // The request is pending from here on, and will be sent in a moment.
      this.share(this.isBatched ? 1 : 0);
    }
    return this.client.open(receiver, isIdempotent);
  }

  /**
   * Publishes its requests for other balancers.
   * @param more the number of requests that are about to be pending
   */
  share(more = 0): void {
    this.others?.put(this.inFlight + (this.client.lasting ?? 0), this.pending + more);
  }

  /**
   * @param mayHaveStarted its value when the request was opened
   * @param loss set if the request was lost here
   * @param hasResponded whether `responded` was called for it
   */
  release(mayHaveStarted: boolean, loss?: UpstreamLoss, hasResponded = false): void {
    if (loss !== undefined) this.vitals?.lost(loss);
    this.inFlight--;
    if (!hasResponded) this.awaitLess();
    this.share();
    if (mayHaveStarted) this.retriedStarts--;
    if (this.inFlight === 0) this.onIdle?.();
  }

  /**
   * Whether the process has been leaving for a while. If so, it drains until its deadline, whereas a hung process is killed as soon as it
   * leaves.
   */
  isDraining(now: number): boolean {
    return now - this.leavingSince > SAME_LOSS_MS;
  }

  /** Records that a request was lost here, before its `release`. Returns false if the upstream had other requests, of any balancer. */
  noteLoss(now: number): boolean {
    if (now - this.lossAt > SAME_LOSS_MS) this.wereSeveralLost = this.inFlight + (this.others?.most() ?? 0) > 1;
    this.lossAt = now;
    return !this.wereSeveralLost;
  }

  /** Whether its only request waits behind a long one of another balancer. */
  get waitsBehindHeld(): boolean {
    return this.maxInFlight === 1 && this.inFlight === 1 && this.others?.waitsBehindHeld === true;
  }

  /** Reassigns that request if it may run twice. */
  reassignWaiting(): void {
    this.client.reassignWaiting?.();
  }

  sweep(deadlines: Deadlines, idleTimeoutMs: number): void {
    this.client.closeIdleSince(deadlines.now - idleTimeoutMs);
  }

  /** Accepts no new requests. `onEmpty` follows when its last connection is closed. */
  leave(now: number, onEmpty: () => void): void {
    this.isLeaving = true;
    this.leavingSince = now;
    this.client.leave(onEmpty);
  }
}

function ejectedStats({ reason, number, until }: Ejection, now: number): Required<UpstreamStats>["ejected"] {
  return { reason, number, forMs: Math.max(0, Math.round(until - now)) };
}
