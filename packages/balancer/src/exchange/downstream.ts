/** The interface to client connections: everything that an exchange needs, independent of the client's protocol. */

import type { CodedBody } from "../coding/compression.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { LocalPage, LocalStatus } from "../routing/local-response.js";
import type { Ends } from "../transport/transport.js";

export type { LocalStatus };

export interface Downstream {
  /** Sends the response to the client. */
  readonly response: DownstreamResponse;
  /** Whether another request may follow the current one. */
  readonly staysOpen: boolean;
  /** Both ends of the client's connection; undefined if unknown. */
  readonly ends: Ends | undefined;
  /** When `Exchange.onDeadline` is due, in milliseconds of `Deadlines.now`. */
  deadlineAt: number;
  /**
   * Sends the response's head; its bytes are read before the call returns.
   * @param coded compresses the body
   */
  sendHead(head: ResponseHead, coded?: CodedBody): void;
  /** Completes the response. */
  endResponse(): void;
  /**
   * Sends a response that the balancer generates itself, unless a head was sent. Its body has `localBodyBytes`.
   * @param fields further fields, as lines
   */
  respond(status: LocalStatus, fields?: string): void;
  /** Cuts the response off, so that the client can see that it is incomplete. */
  abort(): void;
  pauseBody(): void;
  resumeBody(): void;
}

/** The response to one client. */
export interface DownstreamResponse {
  /** Whether the client of the current request accepts trailers, and the response's trailers, which are sent at its end. */
  readonly takesTrailers: boolean;
  trailers: Uint8Array | undefined;
  /** Sends a 1xx before the response. Returns false like `body`. */
  interim(head: ResponseHead): boolean;
  /** Sends a 100 that the balancer generates itself. */
  continue(): void;
  /** Sends a piece of the body. Returns false if the next piece must wait for `Exchange.onClientDrain`. */
  body(bytes: Uint8Array, start: number, end: number): boolean;
  /** Sends everything that this turn has produced. Returns false like `body`. */
  flush(): boolean;
  /** Sends the end of a compressed body, before `Downstream.endResponse`. */
  endCoding(): void;
  /** Withdraws the head of a response. Returns false if part of it was sent. */
  withdrawHead(): boolean;
  /** The pool's page for a response that the balancer generates itself; undefined: a line of text. */
  page: LocalPage | undefined;
  /** Returns the size of the body for this client if the balancer itself responds. */
  localBodyBytes(status: LocalStatus): number;
  /** Whether up to `maxBytes` of unread response may be kept in memory while more arrives. */
  mayHold(maxBytes: number): boolean;
  /** Whether many bytes are unread. If so, `Exchange.onClientDrain` is called once the client has read them. */
  readonly isBehind: boolean;
  /** Starts to measure how slowly the client reads. Returns the time of the next check. */
  beginSlowReading(): number;
  /**
   * Returns the time of the next check; 0 if the client has read nothing for `sendTimeoutMs`, or if it has read too slowly for too long.
   */
  lookAtReading(): number;
}
