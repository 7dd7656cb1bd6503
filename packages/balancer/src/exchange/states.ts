/** The states of an exchange: which side it waits for, and how it handles the client's input. */
import type { AccessPhase } from "@paceline/wire/access-log";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import type { Attempts } from "./attempts.js";
import type { Downstream } from "./downstream.js";
import type { Cut } from "./outcome.js";
import type { Relay } from "./relay.js";
import type { RequestBody } from "./request-body.js";
import type { ResponseFlow } from "./response-flow.js";

/** The part of an exchange that its states use. */
export interface ExchangeContext {
  readonly relay: Relay;
  readonly client: Downstream;
  readonly attempts: Attempts;
  readonly body: RequestBody;
  readonly stream: UpstreamStream | undefined;
  readonly flow: ResponseFlow;
  /** Returns the time limit of the side that must send next. */
  requestTimeoutMs(): number;
  setDeadlineIn(timeoutMs: number): void;
  onRequestBody(bytes: Uint8Array, start: number, end: number): void;
  /** Sends a response that the balancer generates itself. */
  respond(status: 408 | 503 | 504): void;
  abort(cut: Cut): void;
}

export class ExchangeState {
  /** The name of the state in the access log. */
  readonly phase: AccessPhase = "head";

  /** Whether the response's head was sent to the client. */
  readonly hasResponse: boolean = false;

  /** Whether the request is at an upstream that has not begun to respond. */
  readonly awaitsResponse: boolean = false;

  /** Handles a piece of the request's body. */
  onRequestBody(_exchange: ExchangeContext, _bytes: Uint8Array, _start: number, _end: number): void {}
  /** Called when the request's body is complete, or the client of a tunnel has sent FIN. */
  onRequestEnd(_exchange: ExchangeContext): void {}
  /** Called at the deadline of the awaited event. */
  onDeadline(_exchange: ExchangeContext): void {}
}

/** The body is collected before an upstream is picked. */
class Collecting extends ExchangeState {
  override readonly phase = "body";

  override onRequestBody(exchange: ExchangeContext, bytes: Uint8Array, start: number, end: number): void {
    // Otherwise the state has changed, and the rest of the body follows as it arrives.
    if (!exchange.body.addCollected(bytes, start, end)) exchange.onRequestBody(bytes, start, end);
  }

  override onRequestEnd({ body }: ExchangeContext): void {
    body.finishCollecting();
  }

  override onDeadline({ body }: ExchangeContext): void {
    body.onCollectingDeadline();
  }
}

/** The request is in the request queue. */
class Queued extends ExchangeState {
  override readonly phase: AccessPhase = "queue";

  override onRequestBody({ body }: ExchangeContext, bytes: Uint8Array, start: number, end: number): void {
    // Nothing can be sent yet. The few bytes that arrive before the client is paused are kept.
    body.hold(bytes, start, end);
  }

  override onDeadline(exchange: ExchangeContext): void {
    exchange.attempts.onQueueDeadline();
  }
}

/** An upstream was picked, and a connection to it is being made. */
class Connecting extends Queued {
  override readonly phase: AccessPhase = "connect";
  override readonly awaitsResponse = true;

  override onDeadline(exchange: ExchangeContext): void {
    exchange.respond(503);
  }
}

/** The head was sent; no response has started. */
class Sent extends ExchangeState {
  override readonly phase = "wait";
  override readonly awaitsResponse = true;

  override onRequestBody(exchange: ExchangeContext, bytes: Uint8Array, start: number, end: number): void {
    exchange.body.keep(bytes, start, end);
    sendBody(exchange, bytes, start, end, exchange.body.countPiece(end - start));
  }

  override onRequestEnd(exchange: ExchangeContext): void {
    endBody(exchange);
  }

  override onDeadline(exchange: ExchangeContext): void {
    const { body } = exchange;
    if (exchange.flow.isClientBlocked) return lookAtClient(exchange);
    if (body.isBeingTaken()) return;
    exchange.respond(body.isWhole || body.isUpstreamBlocked ? 504 : 408);
  }
}

/** The response names a file; the rest of the response is dropped. */
class Discarding extends ExchangeState {
  override readonly phase = "wait";

  override onDeadline(exchange: ExchangeContext): void {
    exchange.respond(504);
  }
}

class Responding extends ExchangeState {
  override readonly phase = "response";
  override readonly hasResponse = true;

  override onRequestBody(exchange: ExchangeContext, bytes: Uint8Array, start: number, end: number): void {
    // The body may be part of a dialogue between client and app, which has no minimum rate.
    sendBody(exchange, bytes, start, end, exchange.relay.limits.bodyTimeoutMs);
  }

  override onRequestEnd(exchange: ExchangeContext): void {
    endBody(exchange);
  }

  override onDeadline(exchange: ExchangeContext): void {
    const { body } = exchange;
    if (exchange.flow.isClientBlocked) return lookAtClient(exchange);
    if (body.isBeingTaken()) return;
    exchange.abort(body.isWhole || body.isUpstreamBlocked ? "instance-late" : "client-late");
  }
}

/** The upstream has finished; the client is still receiving. */
class Delivering extends ExchangeState {
  override readonly phase = "delivery";
  override readonly hasResponse = true;

  override onDeadline(exchange: ExchangeContext): void {
    // Otherwise the next bytes are still being read from the disk.
    if (exchange.flow.isClientBlocked) lookAtClient(exchange);
    else exchange.abort("balancer");
  }
}

/** The connection is a tunnel after a 101. */
class Tunnel extends ExchangeState {
  override readonly phase = "tunnel";
  override readonly hasResponse = true;

  override onRequestBody(exchange: ExchangeContext, bytes: Uint8Array, start: number, end: number): void {
    // A client that sends but reads nothing still has a deadline.
    if (!exchange.flow.isClientBlocked) exchange.setDeadlineIn(exchange.relay.limits.tunnelIdleTimeoutMs);
    exchange.body.send(bytes, start, end);
  }

  override onRequestEnd({ stream }: ExchangeContext): void {
    stream?.endBody();
  }

  override onDeadline(exchange: ExchangeContext): void {
    if (exchange.flow.isClientBlocked) lookAtClient(exchange);
    else exchange.abort("idle");
  }
}

/** @param nextInMs how long the client may take to send the next piece */
function sendBody(exchange: ExchangeContext, bytes: Uint8Array, start: number, end: number, nextInMs: number): void {
  const { body } = exchange;
  // A client that sends but reads nothing still has a deadline. Pieces that arrive after the pause do not show whether the upstream reads.
  if (!exchange.flow.isClientBlocked && !body.isUpstreamBlocked) exchange.setDeadlineIn(nextInMs);
  body.send(bytes, start, end);
}

function endBody(exchange: ExchangeContext): void {
  exchange.stream?.endBody(exchange.body.trailers);
  if (exchange.flow.isClientBlocked) return;
  if (exchange.body.isOwed) exchange.body.watchUpstream();
  else exchange.setDeadlineIn(exchange.requestTimeoutMs());
}

/** If a slow client has read anything, sets the next deadline; otherwise cuts the response off. */
function lookAtClient(exchange: ExchangeContext): void {
  const { client } = exchange;
  const nextLookAt = client.response.lookAtReading();
  if (nextLookAt > 0) client.deadlineAt = nextLookAt;
  else exchange.abort("client-late");
}

export const IDLE = new ExchangeState();
export const COLLECTING = new Collecting();
export const QUEUED = new Queued();
export const CONNECTING = new Connecting();
export const SENT = new Sent();
export const DISCARDING = new Discarding();
/** The states after the response's head was sent. */
export const RESPONDING = new Responding();
export const DELIVERING = new Delivering();
export const TUNNEL = new Tunnel();
