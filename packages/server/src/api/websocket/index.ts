/** WebSockets (RFC 6455) for fetch apps, over the lane's upgrade; node:http apps use `ws` and similar packages. */
import { createHash } from "node:crypto";
import { giveBack, leaveToCollector } from "@paceline/wire";
import type { RequestInfo, Upgrade } from "../../shared/app.js";
import { isTurnOver, nextShare } from "../../shared/turn-share.js";
import { frameOf, isSendableCode, MessageReader, NO_STATUS, Opcode, WebSocketFault } from "./message-reader.js";

export interface WebSocketOptions {
  /** The maximum message length, in bytes. A longer message closes the connection with 1009. Default: 1 MiB. */
  maxMessageBytes?: number;
  /**
   * The maximum number of queued bytes if the client reads slowly. If there are more, the connection is closed. Each message counts as 1024
   * bytes more. A single message may be longer. Default: 4 MiB.
   */
  maxQueuedBytes?: number;
  /** The subprotocol to accept, one of the request's Sec-WebSocket-Protocol. Default: none. */
  protocol?: string;
}

/** The connection was lost without a Close frame (RFC 6455 §7.4.1). */
const ABNORMAL = 1006;
const MAX_REASON_BYTES = 123;
/** The overhead of a queued message. */
const MESSAGE_COST_BYTES = 1024;
/** The garbage of a frame in addition to its bytes. */
const FRAME_GARBAGE_BYTES = 512;
/** In a flood of pings, only one pong is sent in this many turns, because each has a cost for the balancer, too. */
const TURNS_PER_PONG = 8;
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/**
 * Accepts the client's WebSocket; return its `response` from the handler. Returns undefined if the client did not request one
 * (RFC 6455 §4.2.1) or `info.upgrade` is undefined.
 */
export function acceptWebSocket(
  request: Request,
  info: Pick<RequestInfo, "upgrade">,
  options: WebSocketOptions = {},
): ServerWebSocket | undefined {
  const { upgrade } = info;
  const key = request.headers.get("sec-websocket-key") ?? "";
  const isAsked =
    request.method === "GET" &&
    request.headers.get("upgrade")?.toLowerCase() === "websocket" &&
    request.headers.get("sec-websocket-version") === "13" &&
    /^[A-Za-z0-9+/]{22}==$/.test(key);
  if (!isAsked || upgrade === undefined) return undefined;
  const accept = createHash("sha1").update(`${key}${ACCEPT_SUFFIX}`).digest("base64");
  const { protocol } = options;
  const fields = {
    upgrade: "websocket",
    "sec-websocket-accept": accept,
    ...(protocol === undefined ? {} : { "sec-websocket-protocol": protocol }),
  };
  return new ServerWebSocket(upgrade(fields), options);
}

/**
 * A WebSocket. Iterate it for the client's messages: text arrives as strings, everything else as bytes. The next message is read on demand,
 * so a client cannot send faster than the app reads. Pings and the close are handled during the iteration.
 */
export class ServerWebSocket implements AsyncIterable<string | Uint8Array> {
  /** The handler's return value. */
  readonly response: Response;
  /** After the close: the code of the first Close frame, sent or received; 1006 without one. */
  closeCode: number | undefined;
  private queuedBytes = 0;
  /** The current write. */
  private current: Promise<boolean> | undefined;
  /** Frames waiting for it, and the single write that will send them: a stream would need far more memory per frame. */
  private waiting: Uint8Array[] = [];
  private next: Promise<boolean> | undefined;
  private readonly maxQueuedBytes: number;
  private readonly maxMessageBytes: number;
  private readonly readable: ReadableStream<Uint8Array>;
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(upgrade: Upgrade, options: WebSocketOptions) {
    this.response = upgrade.response;
    this.readable = upgrade.readable;
    this.writer = upgrade.writable.getWriter();
    // A failed write reports its own error. This promise would crash the process when the client leaves.
    this.writer.closed.catch(() => {});
    this.maxQueuedBytes = options.maxQueuedBytes ?? 4 << 20;
    this.maxMessageBytes = options.maxMessageBytes ?? 1 << 20;
  }

  /** Sends a message. Resolves to true when there is room for more, or to false when it cannot be sent. */
  send(message: string | Uint8Array): Promise<boolean> {
    if (this.closeCode !== undefined) return Promise.resolve(false);
    const isText = typeof message === "string";
    return this.write(frameOf(isText ? Opcode.TEXT : Opcode.BINARY, isText ? Buffer.from(message) : message));
  }

  /**
   * Closes with a code of RFC 6455 §7.4 (default 1000) and a reason of at most 123 bytes.
   *
   * @throws RangeError if the code may not be sent or the reason is too long.
   */
  async close(code = 1000, reason = ""): Promise<void> {
    if (!isSendableCode(code)) throw new RangeError(`the code ${code} may not be sent`);
    if (Buffer.byteLength(reason) > MAX_REASON_BYTES) throw new RangeError("the reason is too long");
    await this.end(code, reason);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string | Uint8Array, void> {
    const reader = new MessageReader(this.maxMessageBytes, () => {
      leaveToCollector(FRAME_GARBAGE_BYTES);
      return isTurnOver();
    });
    let turns = 0;
    try {
      for await (const bytes of this.readable) {
        for (const event of reader.read(bytes)) {
          if (this.closeCode !== undefined) return;
          switch (event.kind) {
            case "turn":
              // A client that does not read its pongs will soon not be read either.
              if (reader.ping !== undefined && ++turns % TURNS_PER_PONG === 0) await this.pong(reader);
              await nextShare();
              break;
            case "message":
              if (reader.ping !== undefined) await this.pong(reader);
              yield event.message;
              break;
            case "close":
              return await this.end(event.code, "");
          }
        }
        if (reader.ping !== undefined && this.closeCode === undefined) await this.pong(reader);
        // The reader has copied the parts of messages, so the buffer is free again.
        giveBack(bytes);
      }
      await this.end(ABNORMAL, "");
    } catch (error) {
      if (error instanceof WebSocketFault) return await this.end(error.code, error.message);
      // The client has left: the iteration ends as after a close.
      await this.end(ABNORMAL, "");
    } finally {
      // The app stopped iterating.
      await this.end(1000, "");
    }
  }

  private pong(reader: MessageReader): Promise<boolean> {
    const payload = reader.ping as Uint8Array;
    reader.ping = undefined;
    return this.write(frameOf(Opcode.PONG, payload));
  }

  /** Sends a Close frame if the code is sendable, and ends the connection. */
  private async end(code: number, reason: string): Promise<void> {
    if (this.closeCode !== undefined) return;
    this.closeCode = code;
    if (code !== ABNORMAL) await this.write(frameOf(Opcode.CLOSE, closePayload(code, reason)));
    await this.writer.close().catch(() => {});
  }

  private write(frame: Uint8Array): Promise<boolean> {
    const cost = frame.length + MESSAGE_COST_BYTES;
    if (this.queuedBytes > 0 && this.queuedBytes + cost > this.maxQueuedBytes) return this.cutOff();
    this.queuedBytes += cost;
    if (this.current === undefined) {
      this.current = this.writeNow(frame, cost);
      return this.current;
    }
    this.waiting.push(frame);
    this.next ??= this.writeWaiting(this.current);
    return this.next;
  }

  private async writeWaiting(current: Promise<boolean>): Promise<boolean> {
    await current;
    const { waiting } = this;
    this.waiting = [];
    this.next = undefined;
    const bytes = waiting.length === 1 ? (waiting[0] as Uint8Array) : Buffer.concat(waiting);
    this.current = this.writeNow(bytes, bytes.length + waiting.length * MESSAGE_COST_BYTES);
    return this.current;
  }

  private async writeNow(bytes: Uint8Array, cost: number): Promise<boolean> {
    try {
      await this.writer.write(bytes);
      return true;
    } catch {
      this.closeCode ??= ABNORMAL;
      return false;
    } finally {
      this.queuedBytes -= cost;
      // Queued frames are sent first.
      if (this.next === undefined) this.current = undefined;
    }
  }

  private async cutOff(): Promise<boolean> {
    this.closeCode ??= ABNORMAL;
    const slow = new DOMException("a WebSocket's client reads too slowly: it was cut off", "AbortError");
    await this.writer.abort(slow).catch(() => {});
    return false;
  }
}

function closePayload(code: number, reason: string): Buffer {
  if (code === NO_STATUS) return Buffer.alloc(0);
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code, 0);
  payload.write(reason, 2);
  return payload;
}
