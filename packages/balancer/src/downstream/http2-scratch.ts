/** Buffers that all HTTP/2 connections share, created for the first one. */
import type { BalancerLimits } from "@paceline/wire";
import { ascii } from "../http1/bytes.js";
import { ResponseHead } from "../http1/response-head.js";
import { RequestText } from "../http2/request-text.js";

/** Room beyond the limit of a head, so that a field that is too long can be detected. */
const LINE_ROOM_BYTES = 8192;

/** The buffers for responses. */
export class ResponseScratch {
  /** The head of responses that the balancer generates itself. */
  readonly head = new ResponseHead();
  private dateValue: Uint8Array = new Uint8Array(0);
  private dateAt = Number.NaN;

  /** @param clock its time advances several times a second */
  constructor(private readonly clock: { readonly now: number }) {}

  /** The value of the field Date. */
  get date(): Uint8Array {
    const { now } = this.clock;
    if (now !== this.dateAt) {
      this.dateAt = now;
      this.dateValue = ascii(new Date().toUTCString());
    }
    return this.dateValue;
  }
}

export class Http2Scratch {
  readonly text: RequestText;
  readonly response: ResponseScratch;
  /** Scratch space for the line of one field. */
  readonly line: Uint8Array;

  constructor({ limits, deadlines }: { limits: BalancerLimits; deadlines: { readonly now: number } }) {
    this.text = new RequestText(limits.maxHeadBytes, webSocketKey);
    this.response = new ResponseScratch(deadlines);
    this.line = Buffer.allocUnsafeSlow(limits.maxHeadBytes + LINE_ROOM_BYTES);
  }
}

/** Returns a Sec-WebSocket-Key: sixteen random bytes in base64 (RFC 6455 §4.1). */
function webSocketKey(): Uint8Array {
  return Buffer.from(Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64"));
}
