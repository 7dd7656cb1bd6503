/** The sending half of a connection to an upstream: writes one request's head and body. */
import type { ProxyVersion } from "@paceline/wire";
import type { Deadlines } from "../deadlines.js";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { Framing, RequestHead } from "../http1/request-head.js";
import { type TurnShare, UpstreamReading } from "../transport/reading.js";
import type { SmallReads } from "../transport/small-reads.js";
import type { Connection } from "../transport/transport.js";
import { InterimBound, type ResponseReceiver } from "../upstreams/upstream-client.js";

/** The parts of an upstream that its connections use. */
export interface UpstreamConnections<UpstreamConnection> {
  readonly deadlines: Deadlines;
  readonly requestWriter: HeadWriter;
  readonly turnShare: TurnShare;
  /** Undefined if its responses are buffered. */
  readonly smallReads: SmallReads | undefined;
  readonly isForeign: boolean;
  /** Whether it listens on a unix socket, whose buffer does not grow automatically. */
  readonly isLocal: boolean;
  /** Whether it reads the trailers of requests, as far as known. */
  readonly takesTrailers: boolean;
  /** The version of the PROXY header at the start of each connection. */
  readonly sendProxy: ProxyVersion | undefined;
  /** Whether an abandoned request occupies the upstream until it has finished it. */
  readonly countsAbandoned: boolean;
  /** Whether an instance may continue to work on a request after its response, and stays occupied meanwhile. */
  readonly awaitsWork: boolean;
  /** Whether a report that an instance is done may stay unread for a while. */
  readonly readsDoneLater: boolean;
  /** Called when the upstream continues to work on an abandoned request, or after a response. */
  keepAbandoned(connection: UpstreamConnection): void;
  /** Whether the supervisor kills the process for a request that is overdue by this time, in milliseconds. */
  isLate(overdueMs: number): boolean;
  /** Set while the upstream may be running a request whose client has left. */
  readonly leftAtWork: string | undefined;
  /** Notes a request whose client has left, and which the upstream may be running. */
  noteLeft(request: string | undefined): void;
  /** Called when the connection is closed. */
  gone(connection: UpstreamConnection): void;
  /**
   * Called when the instance has finished the work after a response.
   * @param wasRead whether the report was read at once
   */
  done(connection: UpstreamConnection, wasRead: boolean): void;
  /** Called when the connection has no request any more. Returns false if it must not be kept. */
  keep(connection: UpstreamConnection, receiver: ResponseReceiver): boolean;
  /** Called when the peer closed an idle connection, or one without a response yet. Returns false if that was unexpected. */
  closedWhileKept(connection: UpstreamConnection): boolean;
}

export abstract class RequestSender<UpstreamConnection> {
  protected readonly reading: UpstreamReading;
  protected isHeadRequest = false;
  protected requestFraming: Framing = "none";
  protected isRequestSent = false;
  protected readonly interims = new InterimBound();
  /** When the upstream last made progress with the request, in milliseconds of `Deadlines.now`. */
  protected progressAt: number;

  constructor(readonly upstream: UpstreamConnections<UpstreamConnection>) {
    this.reading = new UpstreamReading(upstream.turnShare, upstream.smallReads);
    this.progressAt = upstream.deadlines.now;
  }

  protected abstract readonly isTunnel: boolean;

  protected get connection(): Connection | undefined {
    return this.reading.connection;
  }

  get waitingBytes(): number {
    return this.connection?.waitingBytes ?? 0;
  }

  get seesAcknowledgements(): boolean {
    return this.connection?.seesAcknowledgements === true;
  }

  acknowledgedBytes(since: number, timeoutMs: number): number {
    return this.connection?.acknowledgedBytes(since, timeoutMs) ?? 0;
  }

  sendHead(request: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void {
    this.interims.begin();
    this.isHeadRequest = request.isHead;
    this.requestFraming = request.isUpgrade ? "close" : request.framing;
    this.isRequestSent = this.requestFraming === "none";
    if (this.connection === undefined) return;
    this.upstream.requestWriter.request(this.connection, request, forwarded, isTrusted);
    this.reading.beginResponse();
  }

  sendBody(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.connection === undefined) return true;
    this.progressAt = this.upstream.deadlines.now;
    const writer = this.upstream.requestWriter;
    return this.requestFraming === "chunked"
      ? writer.chunk(this.connection, bytes, start, end)
      : writer.body(this.connection, bytes, start, end);
  }

  endBody(trailers?: Uint8Array): void {
    if (this.connection === undefined || this.isRequestSent) return;
    // The request cannot end before the upstream has accepted or refused the upgrade.
    if (this.requestFraming === "close" && !this.isTunnel) return;
    this.isRequestSent = true;
    const writer = this.upstream.requestWriter;
    if (this.requestFraming === "chunked")
      writer.lastChunk(this.connection, this.upstream.takesTrailers ? trailers : undefined);
    if (this.isTunnel) {
      writer.flush(this.connection);
      this.connection.end();
    }
  }

  flush(): boolean {
    return this.connection === undefined || this.upstream.requestWriter.flush(this.connection);
  }
}
