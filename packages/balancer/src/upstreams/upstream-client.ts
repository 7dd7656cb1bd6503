/** The interface to upstreams: how an exchange sends a request and receives the response, independent of the protocol. */
import type { AcknowledgingConnection, OverdueRequest, ProxyVersion } from "@paceline/wire";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Connector, Ends } from "../transport/transport.js";

/** How a request was lost at its upstream. */
export type UpstreamLoss =
  /** There was no connection, so nothing was sent. */
  | "refused"
  /** The connection was closed before the first byte of the response. */
  | "closed"
  /** Like "closed", and the instance was running this request's handler when it exited. */
  | "fatal"
  /** Like "closed", and the instance was running the handler of another request when it exited. */
  | "bystander"
  /** Like "closed", but the instance may have been running an abandoned request. */
  | "behindAbandoned"
  /** Like "closed", on a kept connection that the program had probably closed before the request arrived. */
  | "staleConnection"
  /** The upstream stalled. It may be running this request or another one. */
  | "stalled"
  /** The upstream stalled while it was running another request. */
  | "behindStalled"
  /** The request was sent, but its handler was certainly not called and will not be. */
  | "notStarted"
  /** The connection was closed, or invalid data arrived, after the first byte of the response. */
  | "broken";

/** The method and path of a request, for display. */
interface DescribedRequest {
  describe(): string;
  /** Returns a function that returns the current result of `describe`, even when the receiver has another request. */
  describeLater(): () => string;
}

/** Receives the response to one request, or its loss. */
export interface ResponseReceiver {
  /** Whether the request may be sent to another upstream, if it has not started. */
  readonly canReassign: boolean;
  /** Whether the request may be sent to another upstream even if it may have started. */
  readonly canRunAgain: boolean;
  /** Whether the request may have started at an upstream that exited or stalled. If so, the next upstream must send STARTED first. */
  readonly mayHaveStartedElsewhere: boolean;
  readonly request: DescribedRequest;
  /** When the request's wait for an upstream ended, by performance.now(), which is more exact than `Deadlines.now`. */
  readonly readyAt?: number;
  /** Connections kept for this client's next request; undefined if no connection may be kept. */
  readonly keptConnections?: KeptConnections | undefined;
  /** Whether the request's client accepts trailers. If so, `onTrailers` may precede the end of the response. */
  readonly takesTrailers?: boolean;
  /** Receives the trailers as the upstream sent them, as lines. */
  onTrailers?(trailers: Uint8Array): void;
  /** The addresses of the client's connection, for a PROXY header; undefined if unknown. */
  readonly clientEnds?: Ends | undefined;
  /** Called when the connection is established and the request may be sent. Only if `open` returned a stream that was not ready. */
  onUpstreamReady(): void;
  /** Receives a head; another head follows a 1xx. Its bytes are valid until the call returns. */
  onResponseHead(head: ResponseHead): void;
  /** Receives a piece of the body; the bytes are valid until the call returns. */
  onBody(bytes: Uint8Array, start: number, end: number): void;
  /** Called when everything that was received in this turn of the event loop has been passed on. */
  onResponseBatch(): void;
  /** Called when the response is complete and the stream has ended. */
  onResponseEnd(): void;
  /** Called when the stream has ended without a complete response. */
  onUpstreamLost(loss: UpstreamLoss): void;
  /** Called after a `sendBody` that returned false. */
  onUpstreamDrain(): void;
}

/** One request in progress. Acknowledgements count the bytes of the request that the upstream has taken. */
export interface UpstreamStream extends AcknowledgingConnection {
  readonly isReady: boolean;
  /** The number of bytes of the body that wait here for the upstream. */
  readonly waitingBytes: number;
  /** Sends the head; its bytes are read before the call returns. */
  sendHead(head: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void;
  /** Sends a piece of the body. Returns false if the caller must wait for `onUpstreamDrain`. */
  sendBody(bytes: Uint8Array, start: number, end: number): boolean;
  /** @param trailers lines to send, if the protocol has trailers */
  endBody(trailers?: Uint8Array): void;
  /** Sends everything that this turn has produced. */
  flush(): boolean;
  /** Abandons the response and notifies the upstream at once. No events follow. */
  cancel(): void;
  /** @param staysSmall whether only few bytes should be in transit from now on */
  pause(staysSmall?: boolean): void;
  resume(): void;
}

/** The connections of an upstream in tcp mode. */
export interface TcpConnections {
  /** The version of the PROXY header at the start of each connection. */
  readonly sendProxy: ProxyVersion | undefined;
  /** Opens a connection. `closed` follows in every case, even after a failure. */
  connect(connector: Connector): void;
  closed(): void;
}

/** All connections to one upstream. */
export interface UpstreamClient {
  /** Set in tcp mode: each client then has a connection, and `open` is not called. */
  readonly tcp?: TcpConnections;
  /** Whether `open` may be called now for a request, depending on whether the request is idempotent (RFC 9110 §9.2.2). */
  hasRoom(isIdempotent: boolean): boolean;
  /** Whether the upstream has no room now but will soon, because it is finishing a request whose response is complete. */
  readonly endsSoon?: boolean;
  /** The number of connections that are open or being opened. */
  readonly connections: number;
  /** The number of requests at the instance whose handler is not known to have returned; 0 if the protocol does not show it. */
  readonly pending: number;
  /** Whether several requests are sent in one write, and the instance reports that their handlers have returned. */
  readonly isBatched?: boolean;
  /** Whether the instance's event loop is running now; false or undefined if the protocol does not show it. */
  readonly isLoopRunning?: boolean;
  /** When the instance last reported the return of a handler, in milliseconds, if its pool's requests take long; undefined if the protocol has no such report. */
  readonly returnedAtMs?: number;
  /** The number of requests at the instance that are certainly waiting for their turn, as far as the protocol shows it. */
  readonly notStarted: number;
  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream;
  /** Closes connections that have been idle since before `atMs`. */
  closeIdleSince(atMs: number): void;
  /** Opens no new streams. Connections close when they become idle, and `onEmpty` follows the last one. */
  leave(onEmpty: () => void): void;
  /**
   * Called every STALL_TICK_MS while work is in progress. Returns the summed weight of the latest consecutive calls at which a reply was
   * due and nothing had arrived; 0 if that is unknown.
   */
  countStall(weight: number): number;
  /** Reassigns the requests of a stalled upstream that have not started. */
  reassign(): void;
  /**
   * The number of requests that the instance may still be running although their exchanges have ended, in addition to the pending ones.
   * Default: 0.
   */
  readonly lasting?: number;
  /** If this balancer's only request at the upstream waits behind a request of another balancer, and may run twice, reassigns it. */
  reassignWaiting?(): void;
  /** Returns the request that a stalled upstream is running, for display; undefined if unknown. */
  runningRequest(): string | undefined;
  /** Returns the abandoned request that is most overdue; undefined if there is none. */
  overdue(): OverdueRequest | undefined;
}

/** The maximum number of interim responses (1xx) for one request, so that an upstream cannot send them forever. */
const MAX_INTERIMS = 16;
const MAX_INTERIM_BYTES = 65_536;

export class InterimBound {
  private count = 0;
  private bytes = 0;

  begin(): void {
    this.count = 0;
    this.bytes = 0;
  }

  /** Counts an interim response with a head of that size. Returns false if the limit is exceeded. */
  take(bytes: number): boolean {
    this.bytes += bytes;
    return ++this.count <= MAX_INTERIMS && this.bytes <= MAX_INTERIM_BYTES;
  }
}

/** A connection kept for one client when idle, because leftover bytes of a program's response must not reach another client. */
export interface KeptConnection {
  /** Identifies its upstream. */
  readonly upstream: object;
  close(): void;
}

export class KeptConnections {
  /** There is at most one per upstream, because a client has one request at a time. */
  private readonly kept: KeptConnection[] = [];

  add(connection: KeptConnection): void {
    this.kept.push(connection);
  }

  /** Returns the connection to that upstream; undefined if there is none. */
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
