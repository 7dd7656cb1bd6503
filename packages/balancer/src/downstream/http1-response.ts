/** Sends responses to an HTTP/1 client: decides framing by version and keep-alive, and measures how fast the client reads. */
import { SlowReader } from "@paceline/wire";
import type { CodedBody } from "../coding/compression.js";
import type { DownstreamResponse, LocalStatus } from "../exchange/downstream.js";
import type { Relay } from "../exchange/relay.js";
import { ascii, equalsIgnoringCase } from "../http1/bytes.js";
import { FieldKind } from "../http1/field-table.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { Identity } from "../http1/identity.js";
import type { Framing } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { type LocalPage, ownPage, withLine } from "../routing/local-response.js";
import { type Connection, MUCH_UNREAD_BYTES, SCARCE_WAITING_BYTES } from "../transport/transport.js";
import type { ClientMemory } from "./input.js";
import { type LastingResponse, lastingResponse } from "./lasting-response.js";

const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

export class Http1Response implements DownstreamResponse {
  /** The version of the current request. */
  minorVersion: 0 | 1 = 1;
  /** Whether the current request is a HEAD. */
  isHead = false;
  takesTrailers = false;
  /** Whether the client uses TLS. */
  isSecure = false;
  /** The trailers of the current response. */
  trailers: Uint8Array | undefined;
  /** The ids of the current request; undefined if clients do not get them. */
  identity: Identity | undefined;
  /** The pool's page for the next response that the balancer generates itself. */
  page: LocalPage | undefined;
  private readonly writer: HeadWriter;
  /** Set during a long-lived response that a drain may end early. */
  private lasting: LastingResponse | undefined;
  /** When the response was ended early, in milliseconds of `Deadlines.now`; 0 if it was not ended early. */
  endedEarlyAt = 0;
  private framing: Framing = "none";
  /** Compresses the body of the current response. */
  private coded: CodedBody | undefined;
  /** Set once the client has not kept up with reading. */
  private slowReader: SlowReader | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly connection: Connection,
    private readonly memory: ClientMemory,
  ) {
    this.writer = relay.responseWriter;
  }

  /** Whether only the end of the connection ends the current response (RFC 9112 §6.3). */
  get endsWithConnection(): boolean {
    return this.framing === "close";
  }

  /** Sends a 1xx, except to HTTP/1.0, which has none (RFC 9110 §15.2). Returns false like `body`. */
  interim(head: ResponseHead): boolean {
    if (this.minorVersion === 0) return true;
    this.writer.response(this.connection, head, "none", true, this.minorVersion);
    return this.flush();
  }

  continue(): void {
    if (this.minorVersion === 1) this.connection.write(CONTINUE);
  }

  /** Builds the head. Returns whether the connection can be reused afterwards. Without `mayKeep` it cannot. */
  head(head: ResponseHead, mayKeep: boolean, coded?: CodedBody): boolean {
    this.coded = coded;
    this.framing = this.framingOf(head);
    this.trailers = undefined;
    if (this.identity !== undefined) addIdTo(head, this.identity);
    if (this.isSecure && this.relay.hsts !== undefined) addHstsTo(head, this.relay.hsts);
    const { drainClosesPerSecond, eventStreamRetryMs } = this.relay.limits;
    this.endedEarlyAt = 0;
    this.lasting =
      drainClosesPerSecond > 0 && !this.isHead
        ? lastingResponse(head, eventStreamRetryMs, coded !== undefined)
        : undefined;
    const keepAlive = mayKeep && this.framing !== "close";
    this.writer.response(this.connection, head, this.framing, keepAlive, this.minorVersion);
    return keepAlive;
  }

  private framingOf(head: ResponseHead): Framing {
    if (head.status === 101) return "close";
    switch (head.framing) {
      case "none":
      case "length":
        return head.framing;
      case "chunked":
      case "close":
        return this.minorVersion === 1 ? "chunked" : "close";
    }
  }

  /** Returns false if a part of the piece has to wait until the connection has drained. */
  body(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.lasting !== undefined) {
      // The response was ended early; the rest is dropped.
      if (this.endedEarlyAt > 0) return true;
      this.lasting.pass(bytes, start, end);
    }
    return this.coded === undefined ? this.put(bytes, start, end) : this.putCoded(this.coded.write(bytes, start, end));
  }

  private putCoded(bytes: Uint8Array): boolean {
    return bytes.length === 0 || this.put(bytes, 0, bytes.length);
  }

  private put(bytes: Uint8Array, start: number, end: number): boolean {
    const isTaken =
      this.framing === "chunked"
        ? this.writer.chunk(this.connection, bytes, start, end)
        : this.writer.body(this.connection, bytes, start, end);
    return (isTaken && !this.waitsTooMuch()) || this.fallBehind();
  }

  /** Whether more bytes wait for the client than allowed while memory is scarce. Over TLS, many can wait before `write` returns false. */
  private waitsTooMuch(): boolean {
    if (this.connection.waitingBytes <= SCARCE_WAITING_BYTES || !this.relay.unread.isScarce) return false;
    this.connection.asksDrain?.();
    return true;
  }

  /** Sends everything that this turn has produced; returns false like `body`. */
  flush(): boolean {
    if (this.coded !== undefined && !this.putCoded(this.coded.flush())) {
      this.writer.flush(this.connection);
      return false;
    }
    return (this.writer.flush(this.connection) && !this.waitsTooMuch()) || this.fallBehind();
  }

  endCoding(): void {
    if (this.coded === undefined) return;
    this.putCoded(this.coded.end());
    this.coded = undefined;
  }

  /** Counts bytes that the client has not read. Returns false. */
  private fallBehind(): false {
    this.memory.countUnread();
    return false;
  }

  /** Withdraws a response. Returns false if part of it was sent. */
  withdrawHead(): boolean {
    return this.writer.withdrawHead(this.connection);
  }

  endEarly(): "goodbye" | "whole" | undefined {
    const { lasting } = this;
    if (lasting?.isBetween !== true || this.endedEarlyAt > 0) return undefined;
    const { lastBytes } = lasting;
    if (lastBytes.length > 0) this.body(lastBytes, 0, lastBytes.length);
    if (!lasting.isEndedByBoth) this.endCoding();
    this.flush();
    this.endedEarlyAt = this.relay.deadlines.now;
    return lasting.isEndedByBoth ? "goodbye" : "whole";
  }

  /** @param isLast whether the connection is closed immediately after it */
  end(isLast: boolean): void {
    this.lasting = undefined;
    if (this.framing === "chunked") this.writer.lastChunk(this.connection, this.trailers);
    this.trailers = undefined;
    this.writer.flush(this.connection, isLast);
  }

  /** Sends a complete response that the balancer generates itself, with further fields (lines). */
  local(status: LocalStatus, keepAlive: boolean, fields?: string): void {
    const { minorVersion: clientMinorVersion, isHead } = this;
    const response = this.pageOf(status).response({ keepAlive, clientMinorVersion, isHead });
    this.page = undefined;
    const more = fields === undefined ? response : withLine(response, Buffer.from(fields, "latin1"));
    const bytes = this.identity === undefined ? more : withLine(more, this.identity.responseLine);
    if (keepAlive) this.connection.write(bytes);
    else this.connection.writeTransient(bytes, bytes.length, true);
  }

  localBodyBytes(status: LocalStatus): number {
    return this.pageOf(status).bodyBytes(this.isHead);
  }

  private pageOf(status: LocalStatus): LocalPage {
    return this.page ?? ownPage(status);
  }

  mayHold(maxBytes: number): boolean {
    return this.connection.waitingBytes <= maxBytes && this.memory.countBuffered();
  }

  get isBehind(): boolean {
    return this.connection.waitingBytes > MUCH_UNREAD_BYTES;
  }

  beginSlowReading(): number {
    this.slowReader ??= new SlowReader(this.connection, this.relay.limits.sendTimeoutMs);
    return this.slowReader.begin(this.relay.deadlines.now);
  }

  lookAtReading(): number {
    const { deadlines, limits } = this.relay;
    return this.slowReader?.lookAtPace(deadlines.now, limits.minBodyBytesPerSecond / 1000) ?? 0;
  }

  /** Returns the deadline for the start of the client's next request. */
  nextRequestBy(): number {
    const { limits, isDraining, deadlines } = this.relay;
    return deadlines.now + (isDraining ? limits.idleDrainMs : limits.keepAliveTimeoutMs);
  }

  /** Like `lookAtReading`, but for a closing connection, whose client must read at a minimum pace. */
  lookAtPace(): number {
    return this.slowReader?.lookAtPace(this.relay.deadlines.now) ?? 0;
  }
}

const HSTS = ascii("strict-transport-security");

/** Adds Strict-Transport-Security, unless the app has sent it. */
export function addHstsTo(head: ResponseHead, line: Uint8Array): void {
  const { fields } = head;
  for (let i = 0; i < fields.count; i++)
    if (equalsIgnoringCase(fields.bytes, fields.nameStart(i), fields.nameEnd(i), HSTS)) return;
  head.added = head.added === undefined ? line : Buffer.concat([head.added, line]);
}

/** Adds the request id, unless the app has sent one. */
export function addIdTo(head: ResponseHead, identity: Identity): void {
  const { fields } = head;
  for (let i = 0; i < fields.count; i++) if (fields.kinds[i] === FieldKind.REQUEST_ID) return;
  const { responseLine } = identity;
  head.added = head.added === undefined ? responseLine : Buffer.concat([head.added, responseLine]);
}
