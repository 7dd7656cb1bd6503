/** One request over the lane and its answer, on the instance's side. */
import type { RequestInfo, Upgrade } from "../app.js";
import { ForwardedInfo } from "../request-info.js";
import { type BlockSource, type BlockWriter, blocksOf, writeBlocks } from "./answer-body.js";
import type { LaneConnection, RequestServices } from "./lane-connection.js";
import { makeRequest, type RequestSource } from "./lane-request.js";
import { FrameType, MAX_DATA_BYTES, RESPONSE_TEXT, ResponseFlag, STREAM_WINDOW_BYTES } from "./protocol.js";
import { RequestBody } from "./request-body.js";
import type { LaneRequestHead } from "./request-head.js";
import { makeUpgrade, type TunnelStream, UpgradeAnswer } from "./upgrade.js";

type State =
  /** Its handler was not called yet. */
  | "waiting"
  /** Its handler is at work. */
  | "handling"
  /** The answer's head was sent, its body goes on. */
  | "answering"
  | "ended";

/** Bodies up to this size leave in one piece with their head. */
const SMALL_BODY_BYTES = 16_384;

/** What a handler is told beside the request. */
class LaneInfo extends ForwardedInfo {
  constructor(
    private readonly head: LaneRequestHead,
    private readonly stream: LaneStream,
  ) {
    super(head);
  }

  get upgrade(): RequestInfo["upgrade"] {
    return this.head.isUpgrade ? (fields) => this.stream.upgrade(fields) : undefined;
  }
}

/** The balancer takes heads of 64 KB; with room for what is put before and behind these. */
const MAX_FIELDS_BYTES = 65_536 - 1024;
const MAX_FIELDS = 240;
/** What the platform lets an app put into a value, and a head must not have (RFC 9110 §5.5). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNSENDABLE = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/;

export class LaneStream implements RequestSource, BlockWriter, TunnelStream {
  state: State = "waiting";
  private begunAtMs = 0;
  /** What the balancer still takes of the answer, in bytes. */
  private window: number;
  /** What is to be sent and was not yet, and how far it was. */
  private pending: Uint8Array | undefined;
  private sent = 0;
  private isLastPending = false;
  /** In the connection's list of streams that have something to send. */
  isQueued = false;
  private wake: (() => void) | undefined;
  private source: BlockSource | undefined;
  private readonly body: RequestBody | undefined;
  /** What the balancer may still send of the request's body, in bytes. */
  private granted = STREAM_WINDOW_BYTES;
  private received = 0;
  private controller: AbortController | undefined;
  private isGone = false;
  /** What an answer of a known length still owes; Infinity for one without. */
  private owed = Number.POSITIVE_INFINITY;

  constructor(
    private readonly lane: LaneConnection,
    private readonly requests: RequestServices,
    readonly id: number,
    readonly head: LaneRequestHead,
    window: number,
  ) {
    this.window = window;
    this.body = head.isWhole ? undefined : new RequestBody((bytes) => this.grant(bytes));
  }

  // From the balancer.

  /** A piece of the request's body; false when none is due, or not so much. */
  onBody(bytes: Buffer, start: number, end: number, isLast: boolean): boolean {
    const { body } = this;
    this.granted -= end - start;
    if (body === undefined || body.isComplete || this.granted < 0) return false;
    this.received += end - start;
    if (this.received > this.lane.maxBodyBytes && !this.head.isUpgrade) {
      this.tooLong();
      return true;
    }
    if (end > start) body.add(bytes, start, end);
    if (isLast) body.finish();
    return true;
  }

  private grant(bytes: number): void {
    this.granted += bytes;
    this.lane.grant(this, bytes);
  }

  /** The request's body, whose length was not told, has grown over the limit: nobody waits for what the handler makes of it. */
  private tooLong(): void {
    if (this.state === "ended") return;
    if (this.state === "answering") this.fail();
    else this.refuse(413, "Content Too Large\n");
    this.body?.fail(new Error("the request's body is longer than the limit"));
    this.wake?.();
    this.lane.flushSoon();
  }

  onWindow(bytes: number): void {
    this.window += bytes;
    if (this.pending !== undefined) this.lane.queue(this);
  }

  /** The client has gone, or the lane with it. */
  onCancel(): void {
    if (this.state === "ended") return;
    this.isGone = true;
    this.end();
    const gone = new DOMException("the client has gone", "AbortError");
    this.controller?.abort(gone);
    this.body?.fail(gone);
    this.source?.cancel();
    this.wake?.();
  }

  // The handler.

  /** Calls the handler. */
  begin(): void {
    const { lane, requests } = this;
    this.handled();
    this.begunAtMs = performance.now();
    if (this.head.expectsContinue) this.sendHead(100, "", "", -1, false);
    let result: unknown;
    try {
      result = requests.handler(makeRequest(this.head, this), new LaneInfo(this.head, this));
      if (this.isAnswer(result)) return this.answer(result);
    } catch (error) {
      return this.failed(error);
    }
    lane.owesBegun(this);
    Promise.resolve(result).then(this.answered, this.failed);
  }

  private readonly answered = (response: unknown): void => {
    if (this.state !== "handling") return this.leave(response);
    try {
      if (!this.isAnswer(response)) {
        throw new TypeError("the handler gave something that is not a Response");
      }
      this.answer(response);
    } catch (error) {
      this.failed(error);
    }
    this.lane.flushSoon();
  };

  private isAnswer(value: unknown): value is Response {
    return this.requests.answers.isAnswer(value) || value instanceof UpgradeAnswer;
  }

  /** An answer that comes when its client has gone: what it holds is let go. */
  private leave(response: unknown): void {
    const { answers } = this.requests;
    if (!answers.isAnswer(response) || response.bodyUsed) return;
    const body = answers.body(response);
    if (body !== null && typeof body === "object" && !(body instanceof Uint8Array || body instanceof Blob))
      blocksOf(body).cancel();
  }

  readonly failed = (error: unknown): void => {
    const { lane } = this;
    // A handler that gives up with its client has no fault to tell of.
    if (!this.isGone || (error as Error | undefined)?.name !== "AbortError") lane.onError(error);
    if (this.state === "ended") return;
    if (this.state !== "handling") return this.fail();
    this.refuse(500, "Internal Server Error\n");
    lane.flushSoon();
  };

  /** It counts from here on. */
  private handled(): void {
    if (this.state !== "waiting") return;
    this.state = "handling";
    this.lane.active++;
    this.requests.counter.begin();
  }

  /** Answers without the app. */
  refuse(status: number, text: string, fields = ""): void {
    this.handled();
    this.requests.counter.errors++;
    this.sendWhole(status, "", `content-type: text/plain\r\n${fields}`, this.isHead ? "" : text, text.length);
  }

  private get isHead(): boolean {
    return this.head.method === "HEAD";
  }

  private answer(response: Response): void {
    if (response instanceof UpgradeAnswer) return this.switchOver(response);
    const { counter } = this.requests;
    const now = performance.now();
    counter.latency.record((now - this.begunAtMs) * 1000);
    if (response.status >= 500) counter.errors++;
    this.send(response);
    this.lane.progressed(now);
  }

  /** From here on the stream is a tunnel. */
  private switchOver(answer: UpgradeAnswer): void {
    this.sendHead(101, "", answer.lines, -1, false);
    this.state = "answering";
    answer.onSwitched();
  }

  private send(response: Response): void {
    const { answers } = this.requests;
    const { status } = response;
    // Bun takes any text for it; nobody needs one.
    const statusText = /^[\t\x20-\x7e\x80-\xff]*$/.test(response.statusText) ? response.statusText : "";
    const fields = answers.fields(response);
    const { contentLength } = fields;
    let { text } = fields;
    if (text.length > MAX_FIELDS_BYTES) throw new TypeError("the answer's fields are too long");
    // As many as the balancer takes, with room for its own; a field is five bytes at least.
    if (text.length > 5 * MAX_FIELDS && text.split("\r\n").length > MAX_FIELDS) {
      throw new TypeError("the answer has too many fields");
    }
    if (UNSENDABLE.test(text)) throw new TypeError("the answer's fields have a control character in them");
    if (Number.isNaN(contentLength)) throw new TypeError("the answer's Content-Length is no number");
    if (response.bodyUsed) throw new TypeError("the answer's body was already read");
    const body = answers.body(response);
    if (body === null) {
      // What the body would be is told where there is none by rule; elsewhere none is none.
      const length = this.isHead || status === 204 || status === 304 ? contentLength : 0;
      return this.sendWhole(status, statusText, text, "", length);
    }
    if (typeof body === "string") {
      if (!fields.hasContentType) text += "content-type: text/plain;charset=utf-8\r\n";
      return this.sendText(status, statusText, text, body);
    }
    if (body instanceof Uint8Array) return this.sendBytes(status, statusText, text, body);
    const length = body instanceof Blob ? body.size : contentLength;
    const source = blocksOf(body instanceof Blob ? body.stream() : body);
    if (this.isHead) {
      source.cancel();
      return this.sendWhole(status, statusText, text, "", length);
    }
    this.owed = length < 0 ? Number.POSITIVE_INFINITY : length;
    this.sendHead(status, statusText, text, length, false);
    this.state = "answering";
    this.source = source;
    void writeBlocks(source, this, () => this.state === "ended");
  }

  private sendText(status: number, reason: string, fields: string, body: string): void {
    // A character is three bytes at most.
    if (body.length * 3 > SMALL_BODY_BYTES || this.lane.isFull)
      return this.sendBytes(status, reason, fields, Buffer.from(body));
    const { frames } = this.lane;
    if (this.isHead) return this.sendWhole(status, reason, fields, "", Buffer.byteLength(body));
    const lengthAt = this.sendHead(status, reason, fields, 0, false);
    frames.reserve(8 + body.length * 3);
    const headerAt = frames.length;
    frames.length += 8;
    const length = frames.bytes.write(body, frames.length, body.length * 3, "utf8");
    frames.length = headerAt;
    frames.header(FrameType.END, this.id, length);
    frames.length += length;
    frames.bytes.writeUIntLE(length, lengthAt, 6);
    this.end();
  }

  private sendBytes(status: number, reason: string, fields: string, bytes: Uint8Array): void {
    if (this.isHead || bytes.length === 0) return this.sendWhole(status, reason, fields, "", bytes.length);
    this.sendHead(status, reason, fields, bytes.length, false);
    if (bytes.length <= SMALL_BODY_BYTES && !this.lane.isFull) {
      this.lane.frames.copy(FrameType.END, this.id, bytes, 0, bytes.length);
      return this.end();
    }
    this.state = "answering";
    this.pending = bytes;
    this.sent = 0;
    this.isLastPending = true;
    this.lane.queue(this);
  }

  /** An answer whose body, if it has one, is a few characters of ASCII. */
  private sendWhole(status: number, reason: string, fields: string, text: string, length: number): void {
    this.sendHead(status, reason, fields, length, text === "");
    if (text !== "") this.lane.frames.copy(FrameType.END, this.id, Buffer.from(text), 0, text.length);
    this.end();
  }

  /** Writes a RESPONSE; answers with the position of its length. */
  private sendHead(status: number, reason: string, fields: string, length: number, isLast: boolean): number {
    const { frames } = this.lane;
    const reasonBytes = Math.min(reason.length, 255);
    const payload = RESPONSE_TEXT + reasonBytes + fields.length + 2;
    frames.reserve(8 + payload);
    frames.header(FrameType.RESPONSE, this.id, payload);
    const { bytes } = frames;
    const at = frames.length;
    const micros = Math.min(0xffff_ffff, Math.round((performance.now() - this.begunAtMs) * 1000));
    bytes[at] = status;
    bytes[at + 1] = status >>> 8;
    bytes[at + 2] = (isLast ? ResponseFlag.END : 0) | (length >= 0 ? ResponseFlag.LENGTH : 0);
    bytes[at + 3] = 0;
    bytes.writeUInt32LE(this.begunAtMs === 0 ? 0 : micros, at + 4);
    bytes.writeUIntLE(Math.max(length, 0), at + 8, 6);
    bytes[at + 14] = reasonBytes;
    if (reasonBytes > 0) bytes.write(reason, at + RESPONSE_TEXT, reasonBytes, "latin1");
    bytes.write(fields, at + RESPONSE_TEXT + reasonBytes, fields.length, "latin1");
    frames.length = at + payload;
    bytes[frames.length - 2] = 13;
    bytes[frames.length - 1] = 10;
    return at + 8;
  }

  // A body that goes block by block.

  write(block: Uint8Array): boolean {
    this.owed -= block.length;
    if (this.owed < 0) throw new TypeError("the answer's body is longer than its Content-Length");
    if (block.length <= this.window && block.length <= SMALL_BODY_BYTES && !this.lane.isFull) {
      this.window -= block.length;
      this.lane.frames.copy(FrameType.DATA, this.id, block, 0, block.length);
      this.lane.flushSoon();
      return true;
    }
    this.pending = block;
    this.sent = 0;
    this.lane.queue(this);
    return this.pending === undefined;
  }

  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
      if (this.state === "ended" || this.pending === undefined) resolve();
    });
  }

  /** The body has ended as it should. */
  endBody(): void {
    if (this.owed > 0 && this.owed !== Number.POSITIVE_INFINITY) {
      throw new TypeError("the answer's body is shorter than its Content-Length");
    }
    this.lane.frames.empty(FrameType.END, this.id);
    this.end();
    this.lane.flushSoon();
  }

  /** Sends as much of what waits as one turn of this stream may; false when nothing of it can leave now. */
  sendSome(): boolean {
    const { pending, lane } = this;
    if (pending === undefined || this.state === "ended") return false;
    const size = Math.min(pending.length - this.sent, this.window, MAX_DATA_BYTES);
    if (size === 0) return false;
    const from = this.sent;
    this.sent += size;
    this.window -= size;
    const isWhole = this.sent === pending.length;
    lane.sendData(isWhole && this.isLastPending, this.id, pending, from, this.sent);
    if (!isWhole) return true;
    this.pending = undefined;
    if (this.isLastPending) this.end();
    else this.wake?.();
    return false;
  }

  /** The answer cannot be finished: the client must see that. */
  private fail(): void {
    this.lane.frames.empty(FrameType.FAIL, this.id);
    this.source?.cancel();
    this.end();
    this.lane.flushSoon();
  }

  private end(): void {
    if (this.state !== "waiting") this.lane.active--;
    this.state = "ended";
    this.pending = undefined;
    this.lane.ended(this);
  }

  /** Takes the upgrade that the request asks for. */
  upgrade(fields?: Readonly<Record<string, string>>): Upgrade {
    return makeUpgrade(this, this.head.get("upgrade") ?? "", fields);
  }

  get isOver(): boolean {
    return this.state === "ended";
  }

  get requestBody(): ReadableStream<Uint8Array> {
    return this.body?.stream() ?? new ReadableStream();
  }

  // For the request.

  takeWhole(): Uint8Array | undefined {
    return this.body?.takeWhole();
  }

  stream(): ReadableStream<Uint8Array> | null {
    return this.body?.stream() ?? null;
  }

  signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.isGone) this.controller.abort(new DOMException("the client has gone", "AbortError"));
    }
    return this.controller.signal;
  }
}
