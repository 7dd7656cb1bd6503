/** The seam towards upstreams: how an exchange sends a request and hears the response, whatever is spoken on the wire. */
import type { AcknowledgingConnection, OverdueRequest } from "@paceline/wire";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";

/** Why a request came to nothing at its upstream. */
export type UpstreamLoss =
  /** It never had a connection: nothing was sent. */
  | "refused"
  /** The connection ended before the first byte of the response. */
  | "lost"
  /** The same, and the instance was calling this request's handler when it ended. */
  | "fatal"
  /** The same, and the instance was calling the handler of another request when it ended. */
  | "bystander"
  /** The same, of a kept connection to a foreign server, which had most likely closed it before the request came. */
  | "stale"
  /** Its upstream fell silent, and may be at work on it or on another one. */
  | "stalled"
  /** Its upstream fell silent, at work on another one. */
  | "freed"
  /** It was sent, and its handler has provably not been called and will not be. */
  | "notStarted"
  /** The connection ended, or nonsense came, after the first byte of the response. */
  | "broken";

/** Hears of one request's fate. */
export interface ResponseReceiver {
  /** Whether the request could be sent to another upstream now, if it has not started at this one. */
  readonly canMove: boolean;
  /** The same, if it may have started. */
  readonly canRepeat: boolean;
  /** Whether it may have started at an upstream that ended or fell silent: its next one has to say that it starts it before it does. */
  readonly mayHaveStartedElsewhere: boolean;
  /** The request's method and path, for people; made when it is asked for. */
  describeRequest(): string;
  /** Connections that are kept for this client's next request alone; undefined when none must be. */
  readonly keptConnections?: KeptConnections | undefined;
  /** A connection is there; the request may be sent. Only where `open` gave a stream that was not ready. */
  onUpstreamReady(): void;
  /** A head; of a 1xx another follows. Its bytes are good until the call returns. */
  onResponseHead(head: ResponseHead): void;
  /** A piece of the body; the bytes are good until the call returns. */
  onBody(bytes: Uint8Array, start: number, end: number): void;
  /** All that one turn of the event loop brought has been told. */
  onResponseBatch(): void;
  /** The response is whole; the stream is gone. */
  onResponseEnd(): void;
  /** The stream is gone without a whole response. */
  onUpstreamLost(loss: UpstreamLoss): void;
  /** After a `sendBody` that answered false. */
  onUpstreamDrain(): void;
}

/** One request on its way. What it acknowledges is what the upstream has taken of the request. */
export interface UpstreamStream extends AcknowledgingConnection {
  readonly isReady: boolean;
  /** Of the body, what waits here for the upstream, in bytes. */
  readonly waitingBytes: number;
  /** Sends the head; its bytes are read before the call returns. */
  sendHead(head: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void;
  /** False: wait for `onUpstreamDrain`. */
  sendBody(bytes: Uint8Array, start: number, end: number): boolean;
  endBody(): void;
  /** What one turn gave goes out now. */
  flush(): boolean;
  /** Nobody waits for the response any more; the upstream is told at once. Nothing more is heard. */
  cancel(): void;
  pause(): void;
  resume(): void;
}

/** All connections to one upstream. */
export interface UpstreamClient {
  /** Whether `open` may be called now, for a request that is idempotent or not (RFC 9110 §9.2.2). */
  hasRoom(isIdempotent: boolean): boolean;
  /** Connections open or being opened. */
  readonly connections: number;
  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream;
  /** Closes what has been idle since before that instant. */
  closeIdleSince(atMs: number): void;
  /** No new streams; connections close as they fall idle, and `onEmpty` tells of the last. */
  leave(onEmpty: () => void): void;
  /**
   * Called every STALL_TICK_MS while work is under way. Returns the sum of the weights of all calls in a row that
   * found that nothing was heard though something was asked; 0 where that cannot be told.
   */
  countStall(weight: number): number;
  /** It is taken for stalled: gives back what it has not begun. */
  reassign(): void;
  /** The request that a silent upstream is running, for people; undefined where that is not known. */
  runningRequest(): string | undefined;
  /** Of requests that nobody waits for, the one that should have ended first; undefined where there is none. */
  overdue(): OverdueRequest | undefined;
}

/** How many interim responses (1xx) one request may get: an upstream must not send them for ever. */
const MAX_INTERIMS = 16;
const MAX_INTERIM_BYTES = 65_536;

export class InterimBound {
  private count = 0;
  private bytes = 0;

  begin(): void {
    this.count = 0;
    this.bytes = 0;
  }

  /** Counts one with a head of that many bytes; false when it is one too many. */
  take(bytes: number): boolean {
    this.bytes += bytes;
    return ++this.count <= MAX_INTERIMS && this.bytes <= MAX_INTERIM_BYTES;
  }
}

/** Idle connections that are kept for one client: what a stranger's response left behind there must reach nobody else. */
export interface KeptConnection {
  /** Identifies the upstream that it leads to. */
  readonly upstream: object;
  close(): void;
}

export class KeptConnections {
  /** One for each upstream at most, since a client has one request at a time. */
  private readonly kept: KeptConnection[] = [];

  add(connection: KeptConnection): void {
    this.kept.push(connection);
  }

  /** The connection to that upstream, if there is one. */
  find(upstream: object): KeptConnection | undefined {
    for (const connection of this.kept) if (connection.upstream === upstream) return connection;
    return undefined;
  }

  remove(connection: KeptConnection): void {
    const index = this.kept.indexOf(connection);
    if (index >= 0) this.kept.splice(index, 1);
  }

  closeAll(): void {
    for (const connection of [...this.kept]) connection.close();
  }
}
