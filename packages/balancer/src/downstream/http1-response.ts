/** Sends responses to an HTTP/1 client: framing by version, keep-alive, and the client's reading pace. */
import { SlowReader } from "@paceline/wire";
import { REASONS } from "@paceline/wire/reasons";
import type { Relay } from "../exchange/relay.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { Framing } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { type Connection, DRAIN_ABOVE_BYTES } from "../transport/transport.js";
import type { DownstreamResponse, LocalStatus } from "./downstream.js";
import type { ClientMemory } from "./input.js";

const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

export class Http1Response implements DownstreamResponse {
  /** The version of the current request. */
  minorVersion: 0 | 1 = 1;
  /** Whether the current request is a HEAD. */
  isHead = false;
  private readonly writer: HeadWriter;
  private framing: Framing = "none";
  /** Set once the client has not kept up with reading. */
  private slowReader: SlowReader | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly connection: Connection,
    private readonly memory: ClientMemory,
  ) {
    this.writer = relay.responseWriter;
  }

  /** Sends a 1xx; HTTP/1.0 has none (RFC 9110 §15.2). Returns false like `body`. */
  interim(head: ResponseHead): boolean {
    if (this.minorVersion === 0) return true;
    this.writer.response(this.connection, head, "none", true, this.minorVersion);
    return this.writer.flush(this.connection);
  }

  continue(): void {
    if (this.minorVersion === 1) this.connection.write(CONTINUE);
  }

  /** Builds the head. Returns whether the connection can be reused afterwards, which also requires `mayKeep`. */
  head(head: ResponseHead, mayKeep: boolean): boolean {
    this.framing = this.framingOf(head);
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

  /** Returns false if some of it has to wait for the connection's drain. */
  body(bytes: Uint8Array, start: number, end: number): boolean {
    return this.framing === "chunked"
      ? this.writer.chunk(this.connection, bytes, start, end)
      : this.writer.body(this.connection, bytes, start, end);
  }

  /** Sends everything that this turn has produced; returns false like `body`. */
  flush(): boolean {
    return this.writer.flush(this.connection);
  }

  /** Withdraws a response of which nothing has been sent; false if part of it was sent. */
  takeBack(): boolean {
    return this.writer.takeBack(this.connection);
  }

  end(): void {
    if (this.framing === "chunked") this.writer.lastChunk(this.connection);
    this.writer.flush(this.connection);
  }

  /** Sends a complete response of the balancer's own. */
  local(status: LocalStatus, keepAlive: boolean): void {
    const { minorVersion: clientMinorVersion, isHead } = this;
    this.connection.write(localResponse(status, { keepAlive, clientMinorVersion, isHead }));
  }

  localBodyBytes(status: LocalStatus): number {
    return localBodyBytes(status, this.isHead);
  }

  mayHold(maxBytes: number): boolean {
    return this.connection.waitingBytes <= maxBytes && this.memory.countWaiting();
  }

  get isBehind(): boolean {
    return this.connection.waitingBytes > DRAIN_ABOVE_BYTES;
  }

  beginSlowReading(): number {
    this.slowReader ??= new SlowReader(this.connection, this.relay.limits.sendTimeoutMs);
    return this.slowReader.begin(this.relay.deadlines.now);
  }

  lookAtReading(): number {
    return this.slowReader?.look(this.relay.deadlines.now) ?? 0;
  }

  /** Returns when the client must have started its next request. */
  nextRequestBy(): number {
    const { limits, isDraining, deadlines } = this.relay;
    return deadlines.now + (isDraining ? limits.idleDrainMs : limits.keepAliveTimeoutMs);
  }

  /** Like `lookAtReading`, for a client that must read at a minimum pace because its connection is closing. */
  lookAtPace(): number {
    return this.slowReader?.lookAtPace(this.relay.deadlines.now) ?? 0;
  }
}

interface LocalResponseOptions {
  keepAlive: boolean;
  clientMinorVersion: 0 | 1;
  /** A HEAD gets only the head. */
  isHead: boolean;
}

/** The Retry-After of a 503 in seconds: about the time an instance takes to restart. */
const RETRY_AFTER_SECONDS = 1;

/** Returns one line of text. */
function bodyOf(status: LocalStatus): string {
  return `${status} ${REASONS[status]}\n`;
}

/** Returns the size of the body for this client. */
function localBodyBytes(status: LocalStatus, isHead: boolean): number {
  return isHead ? 0 : bodyOf(status).length;
}

/** Responses built in this second, because a client may cause many refusals. */
const built = new Map<number, Uint8Array>();
let builtInSecond = 0;

/** Returns a complete response: a head and a line of text. Clients share its bytes. */
function localResponse(status: LocalStatus, options: LocalResponseOptions): Uint8Array {
  const second = Math.floor(Date.now() / 1000);
  if (second !== builtInSecond) built.clear();
  builtInSecond = second;
  const key = 8 * status + (options.keepAlive ? 4 : 0) + 2 * options.clientMinorVersion + (options.isHead ? 1 : 0);
  let response = built.get(key);
  if (response === undefined) {
    response = build(status, options);
    built.set(key, response);
  }
  return response;
}

function build(status: LocalStatus, options: LocalResponseOptions): Uint8Array {
  const body = bodyOf(status);
  const connection = options.keepAlive ? (options.clientMinorVersion === 0 ? "keep-alive" : "") : "close";
  const lines = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${body.length}`,
    `Date: ${new Date().toUTCString()}`,
  ];
  if (status === 503) lines.push(`Retry-After: ${RETRY_AFTER_SECONDS}`);
  if (connection !== "") lines.push(`Connection: ${connection}`);
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${options.isHead ? "" : body}`, "latin1");
}
