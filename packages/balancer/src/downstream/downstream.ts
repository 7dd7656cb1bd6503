/** The seam towards clients: what an exchange needs of the connection its request came on, whatever its protocol. */

import type { ResponseHead } from "../http1/response-head.js";

/** The responses that the balancer makes itself: refused heads, no instance ready, an upstream that failed. */
export type LocalStatus = 400 | 404 | 408 | 413 | 414 | 417 | 431 | 501 | 502 | 503 | 504 | 505;

export interface Downstream {
  /** What the client is sent. */
  readonly response: DownstreamResponse;
  /** Whether another request may come after the present one. */
  readonly staysOpen: boolean;
  /** Milliseconds of `Deadlines.now` at which `Exchange.onDeadline` is due. */
  deadlineAt: number;
  /** The response's head; its bytes are read before the call returns. */
  sendHead(head: ResponseHead): void;
  /** The response is whole. */
  endResponse(): void;
  /** A response of the balancer's own; only while no head was sent. Its body has `localBodyBytes`. */
  respond(status: LocalStatus): void;
  /** The response cannot be finished: the client must see that. */
  abort(): void;
  pauseBody(): void;
  resumeBody(): void;
}

/** The response on its way to one client. */
export interface DownstreamResponse {
  /** A 1xx that precedes the response. False as with `body`. */
  interim(head: ResponseHead): boolean;
  /** A 100 of our own. */
  continue(): void;
  /** A piece of the body. False: wait for `Exchange.onClientDrain`. */
  body(bytes: Uint8Array, start: number, end: number): boolean;
  /** All that one turn brought has been given; it goes out now. False as with `body`. */
  flush(): boolean;
  /** Takes the head of a response back; false where some of it has left. */
  takeBack(): boolean;
  /** How many bytes the body of a response of the balancer's own has for this client. */
  localBodyBytes(status: LocalStatus): number;
  /** Whether what waits to be read by the client may wait in memory, so many bytes of it, and more come meanwhile. */
  mayHold(maxBytes: number): boolean;
  /** So much waits to be read by the client that `Exchange.onClientDrain` comes when it has been. */
  readonly isBehind: boolean;
  /** The client does not read as fast as it is sent: returns the instant at which to look whether it takes anything. */
  beginSlowReading(): number;
  /** Returns the instant of the next look, or 0 when it has taken nothing for `sendTimeoutMs`. */
  lookAtReading(): number;
}
