/** The outcome of one request for the counters and the access log: status, sizes, times, and which side ended it. */
import type { LostRequest, OpenRequest } from "@paceline/wire";
import type { AccessOutcome, AccessPhase, HedgeResult } from "@paceline/wire/access-log";
import type { Peer } from "../http1/forwarded.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Finished } from "../stats/access-log.js";
import { concernsProcess } from "../stats/losses.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import type { DownstreamResponse, LocalStatus } from "./downstream.js";
import type { Relay } from "./relay.js";
import type { SavedHead } from "./saved-head.js";

/** nginx's status for a client that disconnected before its response was complete. */
export const CLIENT_CLOSED_REQUEST = 499;

/** The status of a request whose connection was reset before its response started, because memory was short. */
const NO_ROOM = 503;

/** Which side caused a response that the balancer itself generates, unless a more exact cause is known. */
const BLAMED: Partial<Record<LocalStatus, AccessOutcome>> = {
  408: "client-late",
  502: "instance-lost",
  504: "instance-late",
};

/**
 * Why a response is cut off. The cause decides what is counted. If the client does not read the response, or if a tunnel is idle, the
 * status that was sent is counted, and the instance is not blamed. If the app or the balancer fails to complete the response, a 502 is
 * counted, for which the instance is blamed only if the app has failed.
 */
export type Cut =
  /** The client reads too slowly or not at all, or sends its body too slowly. */
  | "client-late"
  /** The client's connection is reset, because others need the memory of its unread or early bytes. */
  | "no-room"
  /** The client's connection is ended, because it sent too much, or invalid input. */
  | "refused"
  /** No data moves in a tunnel. */
  | "idle"
  | "instance-late"
  | "instance-lost"
  /** The balancer cannot continue, because of its memory, its disk or a failed compressor. */
  | "balancer";

interface CutRule {
  readonly fault: "client" | "app" | "balancer";
  readonly outcome: AccessOutcome;
}

const CUTS: Record<Cut, CutRule> = {
  "client-late": { fault: "client", outcome: "client-late" },
  "no-room": { fault: "client", outcome: "no-room" },
  refused: { fault: "client", outcome: "refused" },
  idle: { fault: "client", outcome: "whole" },
  "instance-late": { fault: "app", outcome: "instance-late" },
  "instance-lost": { fault: "app", outcome: "instance-lost" },
  balancer: { fault: "balancer", outcome: "refused" },
};

export class Outcome implements Finished {
  /** The status of the client's response; 0 before there is one, and after it was counted. */
  status = 0;
  requestBytes = 0;
  /** The size of the response's body so far. */
  bodyBytes = 0;
  startedAt = 0;
  // These times are only measured for spans and for an access log that shows them; `sentAt` is also measured for policies that need
  // latencies.
  queuedAt = 0;
  foundAt = 0;
  sentAt = 0;
  firstByteAt = 0;
  handlerMicros = -1;
  retries = 0;
  hedge: HedgeResult | undefined;
  pool: string | undefined;
  /** The last upstream of the request. */
  upstream: Upstream | undefined;
  outcome: AccessOutcome = "whole";
  phase: AccessPhase = "head";
  /** Whether the client gets the head of the response from the instance. */
  hasResponded = false;
  /** When the request was ready to be sent, and no longer waited for an instance. */
  readyAt = 0;
  /** The status that was counted while the client was still receiving the response; 0 before. */
  private counted = 0;
  /** Whether the instance did not cause the end. Then only the status of its response counts for the instance. */
  private sparesInstance = false;

  constructor(
    private readonly relay: Relay,
    private readonly head: SavedHead,
    public peer: Peer,
  ) {}

  begin(): void {
    this.startedAt = this.queuedAt = this.readyAt = performance.now();
    this.foundAt = this.sentAt = this.firstByteAt = this.requestBytes = this.bodyBytes = this.retries = 0;
    this.handlerMicros = -1;
    this.hedge = undefined;
    this.outcome = "whole";
    this.hasResponded = this.sparesInstance = false;
    this.relay.counters.inFlight++;
  }

  get instance(): string | undefined {
    return this.upstream?.name;
  }

  get tookMs(): number {
    return performance.now() - this.startedAt;
  }

  /** Called when the body was collected, so that the request is ready for an instance. */
  collected(): void {
    if (this.relay.takesTimes) this.queuedAt = performance.now();
  }

  /**
   * Called when an upstream was picked.
   * @param isLate whether the request had to wait for it
   */
  found(upstream: Upstream, isLate = false): Upstream {
    this.upstream = upstream;
    this.hasResponded = false;
    if (isLate) this.readyAt = performance.now();
    if (this.relay.takesTimes) this.foundAt = performance.now();
    return upstream;
  }

  /** Called when the head is sent to the upstream. */
  sent(upstream: Upstream): void {
    upstream.requestsTotal++;
    if (this.relay.takesTimes || upstream.latency !== undefined) this.sentAt = performance.now();
  }

  /** Called when the request is also sent to a second upstream. */
  hedged(upstream: Upstream): void {
    upstream.requestsTotal++;
    this.hedge = "lost";
    this.relay.counters.hedgesTotal++;
  }

  /** Called when the second upstream was faster. The first upstream has taken at least the time until now. */
  overtaken(upstream: Upstream): void {
    const ms = performance.now() - this.readyAt;
    upstream.pace.add(ms * 1000);
    upstream.latency?.observe(ms);
    upstream.abandoned(ms, this.head);
  }

  /** Called when the second upstream, which has had the request since `sentAtMs`, takes over. */
  takenOver(upstream: Upstream, sentAtMs: number): Upstream {
    this.hedge = "won";
    this.relay.counters.hedgesWonTotal++;
    this.readyAt = this.sentAt = sentAtMs;
    if (this.relay.takesTimes) this.foundAt = sentAtMs;
    this.upstream = upstream;
    return upstream;
  }

  /** Called when the head of the response for the client arrives. */
  responded(head: ResponseHead): void {
    this.status = head.status;
    this.upstream?.latency?.observe(performance.now() - this.sentAt, head.status < 500);
    // Programs and Node handlers do not report their time.
    const micros = head.handlerMicros < 0 ? (performance.now() - this.readyAt) * 1000 : head.handlerMicros;
    this.upstream?.responded(micros);
    this.hasResponded = true;
    if (!this.relay.takesTimes) return;
    this.firstByteAt = performance.now();
    this.handlerMicros = head.handlerMicros;
  }

  /** Called when the balancer has no memory or disk space for the request. */
  noteNoRoom(): void {
    if (this.outcome !== "whole") return;
    this.outcome = "no-room";
    this.relay.counters.noRoomTotal++;
  }

  /** Called when the balancer itself responds. */
  local(status: LocalStatus, response: DownstreamResponse, pool: Pool | undefined): void {
    this.status = status;
    response.page = pool?.errorPages?.of(status);
    if (this.outcome === "whole") this.outcome = BLAMED[status] ?? "refused";
    this.bodyBytes = response.localBodyBytes(status);
  }

  /**
   * Called when the response is cut off. Returns the status of a response that was not sent (`isUnsent`); 0 if part of it was sent.
   * @param isCounted whether the response is counted already, as delivered in part
   */
  cut(cut: Cut, upstream: Upstream | undefined, isUnsent: boolean, isCounted: boolean): 0 | 499 | 502 | 503 {
    const { fault, outcome } = CUTS[cut];
    if (cut === "no-room") this.noteNoRoom();
    if (this.outcome === "whole") this.outcome = outcome;
    if (cut === "no-room" && isUnsent) {
      // For the instance, the request counts as abandoned by its client.
      upstream?.abandoned(this.tookMs, this.head);
      this.sparesInstance = true;
      this.status = NO_ROOM;
      return NO_ROOM;
    }
    if (fault === "client" && isUnsent) {
      this.status = 0;
      return CLIENT_CLOSED_REQUEST;
    }
    if (fault !== "app" && !isCounted) {
      upstream?.cutOff(this.status);
      this.sparesInstance = true;
    }
    if (fault === "client") return 0;
    if (!isCounted) this.status = 502;
    return isUnsent ? 502 : 0;
  }

  /** @param upstream the upstream that has finished the request */
  count(upstream: Upstream | undefined, tookMs = this.tookMs): void {
    const { status } = this;
    this.relay.counters.countResponse(status, tookMs, this.head.routeCounts, this.head.isRead);
    if (!this.sparesInstance) upstream?.countResponse(status, tookMs, this.head);
    // An instance may have counted a response whose head has arrived, and `upstream` has counted this one if it is a program.
    if (status >= 500 && !this.hasResponded && (this.sparesInstance || upstream?.isForeign !== true))
      this.head.routeCounts?.failed(this.head.isRead);
    this.counted = status;
    this.status = 0;
  }

  /**
   * Notes the request for the report about `upstream`, in case the upstream has exited.
   * @param upstream undefined: the request was not sent
   */
  noteLost(upstream: Upstream | undefined, loss: UpstreamLoss, outcome: LostRequest["outcome"]): void {
    if (outcome === "reassigned") this.retries++;
    else this.outcome = "instance-lost";
    this.noteEnd(upstream, loss, outcome);
  }

  noteEnd(upstream: Upstream | undefined, loss: UpstreamLoss, outcome: LostRequest["outcome"]): void {
    if (upstream === undefined) return;
    if (concernsProcess(loss)) upstream.countLost();
    this.relay.losses.add(upstream.id, loss, () => {
      const id = this.head.requestId();
      const ageMs = Math.round(this.tookMs);
      return { request: this.head.describe(), ageMs, outcome, ...(id !== undefined && { id }) };
    });
  }

  /** Notes a request whose response is late. If it still occupies the instance, the supervisor kills the process. */
  noteLate(upstream: Upstream | undefined, pool: Pool | undefined, outcome: LostRequest["outcome"]): void {
    if (this.outcome === "whole") this.outcome = "instance-late";
    if (pool?.isLimited === true) this.noteEnd(upstream, "fatal", outcome);
  }

  /** Returns the request while an instance works on it, for display. */
  openRequest(): OpenRequest | undefined {
    const { upstream, peer } = this;
    if (upstream === undefined) return undefined;
    return { upstream: upstream.id, request: this.head.describe(), ageMs: Math.round(this.tookMs), client: peer.node };
  }

  /** Called when the client has received its response, or will get none. */
  end(loggedAs: number, upstream: Upstream | undefined, pool: Pool | undefined, phase: AccessPhase): void {
    const { counters, accessLog, spans, recorder } = this.relay;
    const { status } = this;
    const logged = loggedAs || status || this.counted;
    const now = performance.now();
    if (logged !== 0 && (accessLog !== undefined || spans !== undefined)) {
      if (this.outcome === "whole" && loggedAs !== 0 && phase !== "tunnel")
        this.outcome = loggedAs === CLIENT_CLOSED_REQUEST ? "client-left" : loggedAs === status ? "whole" : "refused";
      this.pool = pool?.name;
      this.phase = phase;
      this.status = logged;
      accessLog?.request(this.head, this.peer, this, now);
      spans?.request(this.head, this);
      this.status = status;
    }
    const tookMs = now - this.startedAt;
    if (recorder !== undefined && logged !== 0) recorder.request(this.head, logged, this.bodyBytes, tookMs);
    counters.inFlight--;
    if (status !== 0) this.count(upstream, tookMs);
    else if (loggedAs === CLIENT_CLOSED_REQUEST) {
      upstream?.abandoned(tookMs, this.head);
      this.head.routeCounts?.abandoned(this.head.isRead);
    }
    this.counted = 0;
    this.upstream = undefined;
  }
}
