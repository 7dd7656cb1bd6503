/** A request that may also be sent to a second upstream. The client gets the first response; the other request is cancelled. */
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Ends } from "../transport/transport.js";
import type { Hedging, WaitingRequest } from "../upstreams/hedging.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { KeptConnections, ResponseReceiver, UpstreamLoss, UpstreamStream } from "../upstreams/upstream-client.js";

/** The exchange that owns the hedge. */
export interface HedgeOwner extends ResponseReceiver {
  readonly takesTrailers: boolean;
  onTrailers(trailers: Uint8Array): void;
  /** Called when the request is also sent to this second upstream. */
  onHedged(upstream: Upstream): void;
  sendAgain(stream: UpstreamStream): void;
  /** Called when the second upstream, which has had the request since `sentAtMs`, takes over. */
  onOvertaken(upstream: Upstream, stream: UpstreamStream, sentAtMs: number): void;
  /**
   * Called when the second upstream was lost, or when its response is not wanted. The request is not sent to a third upstream.
   * @param loss undefined if the upstream was not lost
   */
  onHedgeEnd(upstream: Upstream, loss?: UpstreamLoss): void;
}

type State =
  /** No request may be hedged now. */
  | "off"
  /** One upstream has the request. */
  | "waiting"
  /** Two upstreams have the request. */
  | "doubled"
  /** Two upstreams had the request, and the second one failed. */
  | "single again"
  /** The second upstream serves the request. */
  | "overtaken";

/** Belongs to an exchange, and is used for all of its requests. Receives the response of the second upstream. */
export class Hedge implements ResponseReceiver, WaitingRequest {
  sentAtMs = 0;
  private state: State = "off";
  private pool: Pool | undefined;
  private hedging: Hedging | undefined;
  private upstream: Upstream | undefined;
  private stream: UpstreamStream | undefined;
  private againAtMs = 0;

  constructor(private readonly owner: HedgeOwner) {}

  /** Whether a request can be sent twice: it only reads, and has no body. */
  static mayBegin(head: RequestHead): boolean {
    return (head.method === "GET" || head.method === "HEAD") && head.framing === "none" && !head.isUpgrade;
  }

  begin(pool: Pool, hedging: Hedging, first: Upstream): void {
    this.state = "waiting";
    this.pool = pool;
    this.hedging = hedging;
    this.upstream = first;
    hedging.sent(this);
  }

  get isDoubled(): boolean {
    return this.state === "doubled";
  }

  sendAgain(): boolean {
    const upstream = this.pool?.pickBeside(this.upstream as Upstream);
    if (upstream === undefined) return false;
    this.state = "doubled";
    this.upstream = upstream;
    this.againAtMs = performance.now();
    this.owner.onHedged(upstream);
    this.stream = upstream.open(this, true);
    if (this.stream.isReady) this.onUpstreamReady();
    return true;
  }

  /** Called when the response of the current upstream starts. */
  onResponse(): void {
    if (this.state === "off" || this.state === "overtaken") return;
    this.hedging?.responded(this);
    this.endAgain();
    this.state = "off";
  }

  /** Called when the request has ended. */
  end(): void {
    if (this.state === "off") return;
    this.hedging?.forget(this);
    this.endAgain();
    this.state = "off";
    this.pool = this.hedging = this.upstream = this.stream = undefined;
  }

  private endAgain(loss?: UpstreamLoss): void {
    if (this.state !== "doubled") return;
    this.state = "single again";
    if (loss === undefined) this.stream?.cancel();
    this.owner.onHedgeEnd(this.upstream as Upstream, loss);
  }

  /** Switches to the second upstream, because the first one is slower or was lost. */
  overtake(): void {
    this.state = "overtaken";
    this.owner.onOvertaken(this.upstream as Upstream, this.stream as UpstreamStream, this.againAtMs);
  }

  // Called by the second upstream:

  readonly canReassign = false;
  readonly canRunAgain = false;
  readonly mayHaveStartedElsewhere = false;

  get request(): ResponseReceiver["request"] {
    return this.owner.request;
  }

  get keptConnections(): KeptConnections | undefined {
    return this.owner.keptConnections;
  }

  get takesTrailers(): boolean {
    return this.owner.takesTrailers;
  }

  get clientEnds(): Ends | undefined {
    return this.owner.clientEnds;
  }

  onUpstreamReady(): void {
    this.owner.sendAgain(this.stream as UpstreamStream);
  }

  onResponseHead(head: ResponseHead): void {
    if (this.state === "doubled") {
      if (head.isInterim) return;
      // The first upstream may still succeed.
      if (head.status >= 500) return this.endAgain();
      this.hedging?.responded(this);
      this.overtake();
    }
    this.owner.onResponseHead(head);
  }

  onTrailers(trailers: Uint8Array): void {
    this.owner.onTrailers(trailers);
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    this.owner.onBody(bytes, start, end);
  }

  onResponseBatch(): void {
    if (this.state === "overtaken") this.owner.onResponseBatch();
  }

  onResponseEnd(): void {
    this.owner.onResponseEnd();
  }

  onUpstreamLost(loss: UpstreamLoss): void {
    if (this.state === "overtaken") this.owner.onUpstreamLost(loss);
    else this.endAgain(loss);
  }

  onUpstreamDrain(): void {
    if (this.state === "overtaken") this.owner.onUpstreamDrain();
  }
}
