/**
 * Long-lived responses, and how they can end early: a WebSocket between two frames, an event stream between two events. Pure: it sees only
 * the bytes sent to the client, and the time as an argument.
 */
import type { Exchange } from "../exchange/exchange.js";
import type { Relay } from "../exchange/relay.js";
import { ascii, equalsIgnoringCase } from "../http1/bytes.js";
import type { ResponseHead } from "../http1/response-head.js";

export interface LastingResponse {
  /** The last bytes that the client gets. */
  readonly lastBytes: Uint8Array;
  /** Whether the client also sends a close frame, so that the connection stays open for a moment. */
  readonly isEndedByBoth: boolean;
  /** Whether the bytes sent so far end with a whole frame or event. */
  readonly isBetween: boolean;
  /** Called with the bytes that are sent. */
  pass(bytes: Uint8Array, start: number, end: number): void;
}

/** How long a client may take to respond to a close frame, in milliseconds. */
const GOODBYE_MS = 5000;

/** Whether a response may last for `drainCloseDelayMs` at a draining instance or in a draining balancer. */
function lastsThroughDrain({ drainingSince, deadlines, limits }: Relay, exchange: Exchange): boolean {
  if (!exchange.hasResponse) return false;
  const since = Math.min(drainingSince, exchange.outcome.upstream?.leavingSince ?? Number.POSITIVE_INFINITY);
  return deadlines.now - since >= limits.drainCloseDelayMs;
}

/** A client whose response may be long-lived. */
export interface LastingClient {
  readonly exchange: Exchange;
  readonly response: {
    /** When the response was ended early, in milliseconds of `Deadlines.now`; 0 if it was not ended early. */
    readonly endedEarlyAt: number;
    /**
     * Ends a long-lived response if it is between two frames or events. Returns "goodbye" if the client still has to send its close frame,
     * "whole" if the response is complete, undefined if it cannot end now.
     */
    endEarly(): "goodbye" | "whole" | undefined;
  };
  abort(): void;
  /** Completes a response before the upstream has completed it. */
  endResponseEarly(): void;
}

/**
 * Ends a long-lived response if it is between two frames or events. Returns whether it did. A client that does not send its close frame in
 * time is disconnected.
 */
export function endLasting(client: LastingClient, relay: Relay): boolean {
  const { exchange, response } = client;
  const { now } = relay.deadlines;
  if (!lastsThroughDrain(relay, exchange)) return false;
  if (response.endedEarlyAt > 0) {
    if (now - response.endedEarlyAt < GOODBYE_MS) return false;
    exchange.onClientGone();
    client.abort();
    return false;
  }
  const ended = response.endEarly();
  if (ended !== "whole") return ended !== undefined;
  exchange.onClientGone(exchange.outcome.status);
  client.endResponseEarly();
  return true;
}

/** A close frame with the status 1012, "service restart" (RFC 6455 §5.5.1 and IANA's registry of close codes). */
const CLOSE_FRAME = Uint8Array.of(0x88, 2, 1012 >> 8, 1012 & 255);
const MASKED = 0x80;
const [LENGTH_16, LENGTH_64] = [126, 127];

/** Follows the frames of a WebSocket from the server (RFC 6455 §5.2). */
export class WebSocketFrames implements LastingResponse {
  readonly lastBytes = CLOSE_FRAME;
  readonly isEndedByBoth = true;
  /** Bytes of the current head read so far. */
  private headBytes = 0;
  /** The length of the current head; known after its second byte. */
  private headLength = 2;
  /** The position in the head at which the extended length ends; 0 if there is none. */
  private lengthEnd = 0;
  private length = 0;
  /** The number of missing bytes of the current frame's payload. */
  private rest = 0;

  get isBetween(): boolean {
    return this.headBytes === 0 && this.rest === 0;
  }

  pass(bytes: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; ) {
      if (this.rest > 0) {
        const size = Math.min(this.rest, end - at);
        this.rest -= size;
        at += size;
        continue;
      }
      this.readHead(bytes[at++] as number);
    }
  }

  private readHead(byte: number): void {
    const at = this.headBytes++;
    if (at === 1) {
      const length = byte & ~MASKED;
      this.headLength = 2 + (length === LENGTH_16 ? 2 : length === LENGTH_64 ? 8 : 0) + (byte >= MASKED ? 4 : 0);
      this.length = length < LENGTH_16 ? length : 0;
      this.lengthEnd = length < LENGTH_16 ? 0 : length === LENGTH_16 ? 4 : 10;
    } else if (at > 1 && at < this.lengthEnd) this.length = this.length * 256 + byte;
    if (this.headBytes < this.headLength) return;
    this.headBytes = 0;
    this.headLength = 2;
    this.rest = this.length;
  }
}

const LF = 10;
const CR = 13;

/** Follows the lines of an event stream, whose events end with an empty line (HTML Standard, server-sent events). */
export class EventLines implements LastingResponse {
  readonly lastBytes: Uint8Array;
  readonly isEndedByBoth = false;
  /** Whether the current line is empty so far, and whether the line before it was. */
  private isLineEmpty = true;
  private wasLineEmpty = true;
  private isAfterCr = false;

  /** @param retryMs when the client should reconnect; 0: the client decides */
  constructor(retryMs: number) {
    this.lastBytes = ascii(retryMs === 0 ? "" : `retry: ${retryMs}\n\n`);
  }

  get isBetween(): boolean {
    return this.isLineEmpty && this.wasLineEmpty;
  }

  pass(bytes: Uint8Array, start: number, end: number): void {
    // Only the last bytes of a piece matter, except for an empty line that the piece completes.
    for (let at = start; at < end; at++) {
      const byte = bytes[at];
      if (byte === LF && this.isAfterCr) {
        this.isAfterCr = false;
        continue;
      }
      this.isAfterCr = byte === CR;
      if (byte === LF || byte === CR) {
        this.wasLineEmpty = this.isLineEmpty;
        this.isLineEmpty = true;
      } else this.isLineEmpty = false;
    }
  }
}

const UPGRADE = ascii("upgrade");
const CONTENT_TYPE = ascii("content-type");
const CONTENT_ENCODING = ascii("content-encoding");

/**
 * Returns how this response can end early; undefined if it cannot.
 * @param isCodedHere whether the balancer has compressed it
 */
export function lastingResponse(head: ResponseHead, retryMs: number, isCodedHere = false): LastingResponse | undefined {
  if (head.status === 101) return /^websocket$/i.test(fieldOf(head, UPGRADE) ?? "") ? new WebSocketFrames() : undefined;
  if (head.framing !== "chunked" && head.framing !== "close") return undefined;
  if (!/^text\/event-stream[ \t]*(;|$)/i.test(fieldOf(head, CONTENT_TYPE) ?? "")) return undefined;
  return isCodedHere || fieldOf(head, CONTENT_ENCODING) === undefined ? new EventLines(retryMs) : undefined;
}

function fieldOf({ fields, bytes }: ResponseHead, name: Uint8Array): string | undefined {
  for (let i = 0; i < fields.count; i++)
    if (equalsIgnoringCase(bytes, fields.nameStart(i), fields.nameEnd(i), name)) return fields.value(i);
  return undefined;
}
