/** The seam towards clients: what an exchange needs of the connection its request came on, whatever its protocol. */

import type { LocalStatus } from "../exchange/local-response.js";
import type { ResponseHead } from "../http1/response-head.js";

export interface ClientLink {
  /** Whether another request may come after the present one. */
  readonly staysOpen: boolean;
  /** Milliseconds of `Deadlines.now` at which `Exchange.onDeadline` is due. */
  setDeadline(atMs: number): void;
  /** A 1xx that precedes the answer. False as with `sendBody`. */
  sendInterim(head: ResponseHead): boolean;
  /** A 100 of our own. */
  sendContinue(): void;
  /** The answer's head; its bytes are read before the call returns. */
  sendHead(head: ResponseHead): void;
  /** A piece of the answer's body. False: wait for `Exchange.onClientDrain`. */
  sendBody(bytes: Uint8Array, start: number, end: number): boolean;
  /** Whether what waits to be read by the client may wait in memory, so many bytes of it, and more come meanwhile. */
  mayHold(maxBytes: number): boolean;
  /** So much waits to be read by the client that `Exchange.onClientDrain` comes when it has been. */
  readonly isBehind: boolean;
  /** All that one turn brought has been given; it goes out now. False as with `sendBody`. */
  flush(): boolean;
  /** The answer is whole. */
  endAnswer(): void;
  /** An answer of the balancer's own; only while no head was sent. Its body has `localBodyBytes`. */
  answer(status: LocalStatus): void;
  /** How many bytes the body of such an answer has for this client. */
  localBodyBytes(status: LocalStatus): number;
  /** Takes the head of a response back; false where some of it has left. */
  takeBack(): boolean;
  /** The answer cannot be finished: the client must see that. */
  abort(): void;
  /** It does not read as fast as it is sent: answers with the instant at which to look whether it takes anything. */
  beginSlowReading(): number;
  /** Answers with the instant of the next look, or 0 when it has taken nothing for `sendTimeoutMs`. */
  lookAtReading(): number;
  pauseBody(): void;
  resumeBody(): void;
}
