/** The outcome of one request for the counters and the access log: status, sizes, times, and who ended it. */
import type { LostRequest, OpenRequest } from "@paceline/wire";
import type { AccessOutcome, AccessPhase, HedgeResult } from "@paceline/wire/access-log";
import type { DownstreamResponse, LocalStatus } from "../downstream/downstream.js";
import type { Peer } from "../http1/forwarded.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Finished } from "../stats/access-log.js";
import { concernsProcess } from "../stats/losses.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import type { Relay } from "./relay.js";
import type { SavedHead } from "./saved-head.js";

/** nginx's status for a client that disconnected before its response was complete. */
export const CLIENT_CLOSED_REQUEST = 499;

/** The status of a request whose connection was reset for want of memory before its response began. */
const NO_ROOM = 503;

/** Who is to blame for a response of the balancer's own, unless it is known better. */
const BLAMED: Partial<Record<LocalStatus, AccessOutcome>> = {
  408: "client-late",
  502: "instance-lost",
  504: "instance-late",
};

/**
 * Why a response is cut off. Whoever is at fault decides what is counted: a response that its client does not read, or a tunnel that
 * is idle, has the status that was sent and says nothing about the instance; what the app or the balancer fails to complete is a 502,
 * which counts for the instance only if it is the app's fault.
 */
export type Cut =
  /** The client reads too slowly or nothing, or sends too little of its body. */
  | "client-late"
  /** The client's connection is reset, since others need the memory of what it has not read, or has sent ahead. */
  | "no-room"
  /** The client's connection is ended: it has sent too much, or something invalid. */
  | "refused"
  /** Nothing moves in a tunnel. */
  | "idle"
  | "instance-late"
  | "instance-lost"
  /** The balancer cannot go on: no memory, no disk, a compressor that fails. */
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
  // The times are only taken for spans and an access log that has them, and `sentAt` for policies that need latencies.
  queuedAt = 0;
  foundAt = 0;
  sentAt = 0;
  firstByteAt = 0;
  handlerMicros = -1;
  retries = 0;
  hedge: HedgeResult | undefined;
  pool: string | undefined;
  /** The last instance of the request. */
  upstream: Upstream | undefined;
  outcome: AccessOutcome = "whole";
  phase: AccessPhase = "head";
  /** Whether the head of the response that the client gets has come from the instance. */
  hasResponded = false;
  /** When it was ready to be sent: since then it has not waited for an instance. */
  readyAt = 0;
  /** The status that was counted while the client was still receiving the response. */
  private counted = 0;
  /** Whether the instance is not to blame for the end, so that only the status of its response counts for it. */
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
    this.sparesInstance = false;
    this.relay.counters.inFlight++;
  }

  get instance(): string | undefined {
    return this.upstream?.name;
  }

  get tookMs(): number {
    return performance.now() - this.startedAt;
  }

  /** Its body was collected, so that it is ready for an instance. */
  collected(): void {
    if (this.relay.takesTimes) this.queuedAt = performance.now();
  }

  /** An instance was picked. @param isLate whether the request has waited for it */
  found(upstream: Upstream, isLate = false): Upstream {
    this.upstream = upstream;
    this.hasResponded = false;
    if (isLate) this.readyAt = performance.now();
    if (this.relay.takesTimes) this.foundAt = performance.now();
    return upstream;
  }

  /** Its head is sent to the upstream. */
  sent(upstream: Upstream): void {
    upstream.requestsTotal++;
    if (this.relay.takesTimes || upstream.latency !== undefined) this.sentAt = performance.now();
  }

  /** It is sent to a second upstream, too. */
  hedged(upstream: Upstream): void {
    upstream.requestsTotal++;
    this.hedge = "lost";
    this.relay.counters.hedgesTotal++;
  }

  /** The second upstream was quicker than this one, which has taken so long in any case. */
  overtaken(upstream: Upstream): void {
    const ms = performance.now() - this.readyAt;
    upstream.pace.add(ms * 1000);
    upstream.latency?.observe(ms);
    upstream.abandoned(ms, this.head);
  }

  /** The second upstream serves it, which has had it since `sentAtMs`. */
  takenOver(upstream: Upstream, sentAtMs: number): Upstream {
    this.hedge = "won";
    this.relay.counters.hedgesWonTotal++;
    this.readyAt = this.sentAt = sentAtMs;
    if (this.relay.takesTimes) this.foundAt = sentAtMs;
    this.upstream = upstream;
    return upstream;
  }

  /** The head of the response that the client gets has come. */
  responded(head: ResponseHead): void {
    this.status = head.status;
    this.upstream?.latency?.observe(performance.now() - this.sentAt, head.status < 500);
    // Programs and Node handlers do not report it.
    const micros = head.handlerMicros < 0 ? (performance.now() - this.readyAt) * 1000 : head.handlerMicros;
    this.upstream?.responded(micros);
    this.hasResponded = true;
    if (!this.relay.takesTimes) return;
    this.firstByteAt = performance.now();
    this.handlerMicros = head.handlerMicros;
  }

  /** The balancer has no memory, or no disk space, for it. */
  noteNoRoom(): void {
    if (this.outcome !== "whole") return;
    this.outcome = "no-room";
    this.relay.counters.noRoomTotal++;
  }

  /** The client gets a response of the balancer's own. */
  local(status: LocalStatus, response: DownstreamResponse, pool: Pool | undefined): void {
    this.status = status;
    response.page = pool?.errorPages?.of(status);
    if (this.outcome === "whole") this.outcome = BLAMED[status] ?? "refused";
    this.bodyBytes = response.localBodyBytes(status);
  }

  /**
   * The response is cut off. Returns the status of a response of which nothing was sent (`isUnsent`); 0: part of it was sent.
   * @param isCounted whether it is counted already, as one that was delivered in part
   */
  cut(cut: Cut, upstream: Upstream | undefined, isUnsent: boolean, isCounted: boolean): 0 | 499 | 502 | 503 {
    const { fault, outcome } = CUTS[cut];
    if (cut === "no-room") this.noteNoRoom();
    if (this.outcome === "whole") this.outcome = outcome;
    if (cut === "no-room" && isUnsent) {
      // For the instance it is one that nobody waits for any more.
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
    this.counted = status;
    this.status = 0;
  }

  /** Notes the request for the report of the death of `upstream`, if it died. @param upstream undefined: it was not sent there */
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

  /** Notes a request whose response is late. Where it keeps its place at the instance, the supervisor ends the process for it. */
  noteLate(upstream: Upstream | undefined, pool: Pool | undefined, outcome: LostRequest["outcome"]): void {
    if (this.outcome === "whole") this.outcome = "instance-late";
    if (pool?.isLimited === true) this.noteEnd(upstream, "fatal", outcome);
  }

  /** Returns the request while an instance works on it, for people. */
  openRequest(): OpenRequest | undefined {
    const { upstream, peer } = this;
    if (upstream === undefined) return undefined;
    return { upstream: upstream.id, request: this.head.describe(), ageMs: Math.round(this.tookMs), client: peer.node };
  }

  /** Records that the client has its response, or will get none. */
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
