/**
 * Lets a scripted upstream speak the lane protocol: to the test each stream looks like a separate HTTP/1.1 connection. To the balancer it
 * behaves like an instance: it announces starts, grants windows for the bytes that were read, and respects windows.
 */

import { STATUS_CODES } from "node:http";
import type net from "node:net";
import { FrameType, LITTLE_WINDOW_BYTES, MAX_DATA_BYTES } from "@paceline/wire/lane/protocol";
import { REQUEST_TEXT, RequestFlag } from "@paceline/wire/lane/request-head";
import { ResponseFlag } from "@paceline/wire/lane/response-head";
import { ResponseReader, type ResponseSink } from "./response-reader.js";
import { type HeardFrame, ScriptedLaneConnection, type ScriptedRequest } from "./scripted-lane.js";
import type { UpstreamConnection, UpstreamSocket } from "./scripted-upstream.js";

const WINDOW_BYTES = 131_072;
/** If the app of an instance waits for more, the instance grants the read bytes from this amount on. */
const STARVED_GRANT_BYTES = 4096;

/** The gateway's owner. */
export interface GatewayOwner {
  onConnection(connection: UpstreamConnection): void;
  /** Called when more of a request arrived; it has started. */
  onBytes(connection: UpstreamConnection): void;
  /** Called when something happened on the lane. */
  onChange(): void;
}

export class LaneGateway {
  /** The initial window of each response's body. */
  responseWindow = 0;
  private readonly lane: ScriptedLaneConnection;
  private readonly streams: GatewayStream[] = [];
  /** Open streams by id. */
  private readonly underWay = new Map<number, GatewayStream>();
  /** Streams with data from this read. */
  private readonly touched = new Set<GatewayStream>();

  constructor(
    readonly socket: net.Socket,
    readonly owner: GatewayOwner,
  ) {
    this.lane = new ScriptedLaneConnection(socket, {
      window: WINDOW_BYTES,
      onFrame: (frame) => this.take(frame),
    });
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      this.lane.onData(bytes);
      // The whole read is parsed before its first request starts.
      const touched = [...this.touched];
      this.touched.clear();
      for (const stream of touched) stream.onRead();
      owner.onChange();
    });
    socket.on("end", () => {
      for (const stream of this.streams) stream.readableEnded = true;
      socket.end();
      owner.onChange();
    });
    socket.on("close", () => {
      for (const stream of this.streams) stream.destroyed = true;
      owner.onChange();
    });
  }

  over(stream: GatewayStream): void {
    this.underWay.delete(stream.request.id);
  }

  private take({ type, id, payload }: HeardFrame): void {
    switch (type) {
      case FrameType.HELLO:
        this.responseWindow = payload.readUInt32LE(6);
        return;
      case FrameType.PING:
        return this.lane.say(FrameType.PONG, 0, payload);
      case FrameType.REQUEST: {
        const stream = new GatewayStream(this, this.lane.requests.at(-1) as ScriptedRequest, payload);
        this.streams.push(stream);
        this.underWay.set(id, stream);
        this.touched.add(stream);
        this.owner.onConnection(stream.connection);
        return;
      }
      default: {
        const stream = this.underWay.get(id);
        if (stream === undefined) return;
        stream.take(type, payload);
        this.touched.add(stream);
      }
    }
  }
}

/** One request, and the test's output for it. */
class GatewayStream implements UpstreamSocket, ResponseSink {
  destroyed = false;
  /** Set when the balancer sends no more, or has abandoned the response. */
  readableEnded = false;
  readonly connection: UpstreamConnection;
  private readonly reader: ResponseReader;
  private readonly isIdempotent: boolean;
  private readonly isUpgrade: boolean;
  private readonly isChunked: boolean;
  private begins: "not yet" | "soon" | "has" = "not yet";
  private isAnswered = false;
  private isOver = false;
  /** Bytes of the request's body that were read and not granted again. */
  private ungranted = 0;
  /** The number of bytes of the response's body that the balancer still accepts. */
  private window: number;
  private readonly waiting: Buffer[] = [];
  private isEndDue = false;
  /** The trailers of the request and of the response, as lines. */
  private requestTrailers = "";
  private trailers = "";

  constructor(
    private readonly gateway: LaneGateway,
    readonly request: ScriptedRequest,
    payload: Buffer,
  ) {
    const { flags } = request;
    this.isIdempotent = (flags & RequestFlag.IDEMPOTENT) !== 0;
    this.isUpgrade = (flags & RequestFlag.UPGRADE) !== 0;
    const fields = fieldsOf(payload);
    const length = fields.get("content-length");
    this.isChunked = (flags & RequestFlag.END) === 0 && !this.isUpgrade && length === undefined;
    if (fields.has("expect") !== ((flags & RequestFlag.EXPECTS) !== 0)) throw new Error("a flag that no field says");
    const isLittle = (flags & RequestFlag.LITTLE) !== 0;
    this.window = isLittle ? Math.min(gateway.responseWindow, LITTLE_WINDOW_BYTES) : gateway.responseWindow;
    this.reader = new ResponseReader(request.method === "HEAD", this);
    this.connection = { socket: this, received: http1HeadOf(request, payload, fields, this.isChunked) };
  }

  // Called by the lane:

  take(type: number, payload: Buffer): void {
    switch (type) {
      case FrameType.DATA:
      case FrameType.END:
        return this.takeBody(payload, type === FrameType.END);
      case FrameType.TRAILERS:
        this.requestTrailers = payload.toString("latin1");
        return;
      case FrameType.WINDOW:
        this.window += payload.readUInt32LE();
        return this.pump();
      case FrameType.CANCEL:
        this.request.cancelled(this.begins !== "not yet");
        this.finish();
        this.readableEnded = true;
        this.destroyed = true;
        return;
      case FrameType.WITHDRAW:
        this.request.cancelled(this.begins !== "not yet");
        if (this.begins === "not yet") this.finish();
        return;
      default:
        throw new Error(`a frame of type ${type} from a balancer`);
    }
  }

  private takeBody(payload: Buffer, isLast: boolean): void {
    const text = payload.toString("latin1");
    const { connection } = this;
    if (this.isChunked) {
      if (text !== "") connection.received += `${payload.length.toString(16)}\r\n${text}\r\n`;
      if (isLast) connection.received += `0\r\n${this.requestTrailers}\r\n`;
    } else connection.received += text;
    if (isLast && this.isUpgrade) this.readableEnded = true;
    this.ungranted += payload.length;
    if (isLast || this.ungranted < STARVED_GRANT_BYTES) return;
    this.request.grant(this.ungranted);
    this.ungranted = 0;
  }

  /** Called when a whole read was parsed. */
  onRead(): void {
    if (this.isOver || this.begins === "soon") return;
    if (this.begins === "has") return this.tell();
    if (!this.isIdempotent) {
      // The request must not run before the balancer can know that: only after the kernel has accepted the announcement.
      this.begins = "soon";
      this.request.begun();
      this.gateway.socket.write("", () => {
        this.begins = "has";
        if (!this.isOver) this.tell();
      });
      return;
    }
    this.begins = "has";
    this.tell();
    if (!this.isAnswered && !this.isOver) this.request.begun();
  }

  private tell(): void {
    this.gateway.owner.onBytes(this.connection);
    this.gateway.owner.onChange();
  }

  // Called by the test:

  write(data: string | Uint8Array, encodingOrDone?: BufferEncoding | (() => void), done?: () => void): boolean {
    const encoding = typeof encodingOrDone === "string" ? encodingOrDone : "utf8";
    const then = typeof encodingOrDone === "function" ? encodingOrDone : done;
    if (!this.isOver) {
      const { buffer, byteOffset, length } = typeof data === "string" ? Buffer.from(data, encoding) : data;
      this.reader.write(Buffer.from(buffer, byteOffset, length));
      this.pump();
    }
    if (then !== undefined) this.gateway.socket.write("", then);
    return true;
  }

  end(data?: string): void {
    if (data !== undefined) this.write(data);
    if (this.isOver) return;
    this.reader.end();
    this.pump();
  }

  /** During a request this means that the instance dies. */
  destroy(): void {
    this.destroyed = true;
    if (!this.isOver) this.gateway.socket.destroy();
  }

  // The response, parsed from the test's output:

  head(status: number, reason: string, lines: string, length: number | undefined, isWhole: boolean): void {
    this.isAnswered ||= status >= 200 || status === 101;
    this.request.head({
      status,
      flags: (isWhole ? ResponseFlag.END : 0) | (length === undefined ? 0 : ResponseFlag.LENGTH),
      length: length ?? 0,
      reason: reason === STATUS_CODES[status] ? "" : reason,
      lines,
    });
    if (isWhole) this.finish();
  }

  body(bytes: Buffer): void {
    if (bytes.length > 0) this.waiting.push(bytes);
  }

  last(trailers = ""): void {
    this.isEndDue = true;
    this.trailers = trailers;
  }

  fail(): void {
    this.request.say(FrameType.FAIL);
    this.finish();
  }

  /** Sends as much as the window allows. */
  private pump(): void {
    while (!this.isOver) {
      const first = this.waiting[0];
      if (first === undefined) {
        if (!this.isEndDue) return;
        if (this.trailers !== "") this.request.say(FrameType.TRAILERS, this.trailers);
        this.request.say(FrameType.END);
        return this.finish();
      }
      const piece = first.subarray(0, Math.min(this.window, MAX_DATA_BYTES));
      if (piece.length === 0) return;
      this.window -= piece.length;
      if (piece.length < first.length) this.waiting[0] = first.subarray(piece.length);
      else this.waiting.shift();
      if (this.waiting.length > 0 || !this.isEndDue || this.trailers !== "") {
        this.request.say(FrameType.DATA, piece);
        continue;
      }
      this.request.say(FrameType.END, piece);
      return this.finish();
    }
  }

  private finish(): void {
    this.isOver = true;
    this.waiting.length = 0;
    this.gateway.over(this);
  }
}

/** Returns the head that the balancer would send with HTTP/1.1: names in their usual case, the framing of the body last. */
function http1HeadOf(
  { method, target }: ScriptedRequest,
  payload: Buffer,
  fields: ReadonlyMap<string, string>,
  isChunked: boolean,
): string {
  const lines = [`${method} ${target} HTTP/1.1`, `Host: ${hostOf(payload)}`];
  for (const [name, value] of fields) if (name !== "content-length") lines.push(`${usualCase(name)}: ${value}`);
  const length = fields.get("content-length");
  if (isChunked) lines.push("Transfer-Encoding: chunked");
  else if (length !== undefined) lines.push(`Content-Length: ${length}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function usualCase(name: string): string {
  return name.replace(/(^|-)[a-z]/g, (first) => first.toUpperCase());
}

function hostStart(payload: Buffer): number {
  return REQUEST_TEXT + (payload[9] as number) + payload.readUIntLE(4, 3);
}

function hostOf(payload: Buffer): string {
  const start = hostStart(payload);
  return payload.toString("latin1", start, start + payload.readUInt16LE(7));
}

/** No request in the lists names a field twice. */
function fieldsOf(payload: Buffer): Map<string, string> {
  const fields = new Map<string, string>();
  let at = hostStart(payload) + payload.readUInt16LE(7);
  for (let left = payload.readUInt16LE(2); left > 0; left--) {
    const valueStart = at + 5 + payload.readUInt16LE(at);
    const end = valueStart + payload.readUIntLE(at + 2, 3);
    const name = payload.toString("latin1", at + 5, valueStart);
    if (fields.has(name)) throw new Error(`the field ${name} twice`);
    fields.set(name, payload.toString("latin1", valueStart, end));
    at = end;
  }
  if (at !== payload.length) throw new Error("a REQUEST that is longer than its fields");
  return fields;
}
