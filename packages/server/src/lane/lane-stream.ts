/** One request over the lane and its response, on the instance's side. */
import { FrameType, REQUEST_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import type { LaneRequestHead } from "@paceline/wire/lane/request-head";
import {
  type LaneResponseHead,
  putInterimResponse,
  putResponse,
  putTextResponse,
} from "@paceline/wire/lane/response-head";
import { REASONS } from "@paceline/wire/reasons";
import { type FileBody, fileBodyOf } from "../kinds/static/file-body.js";
import type { RequestCounter } from "../process/request-counter.js";
import { ForwardedInfo, type RequestSource as InfoSource } from "../process/request-info.js";
import type { FetchHandler, RequestInfo, Upgrade } from "../shared/app.js";
import { type BlockSource, blocksOf } from "../shared/blocks.js";
import { type BodyOwner, BodySender, SMALL_BODY_BYTES } from "./body-sender.js";
import type { LaneOutput } from "./lane-output.js";
import { makeRequest, type RequestSource } from "./lane-request.js";
import { RequestBody } from "./request-body.js";
import { checkFields, type ResponseReader, sendableReason, writeBlocks } from "./response-reader.js";
import { makeUpgrade, type TunnelStream, UpgradeResponse } from "./upgrade.js";

/** What a lane needs to serve requests. */
export interface RequestServices {
  handler: FetchHandler;
  responses: ResponseReader;
  counter: RequestCounter;
}

/** What a stream needs of its lane. */
export interface StreamLane {
  readonly output: LaneOutput;
  readonly maxBodyBytes: number;
  /** Requests whose handler was called and whose response has not left. */
  active: number;
  /** The balancer may send so many bytes more of its body. */
  grant(stream: LaneStream, bytes: number): void;
  ended(stream: LaneStream): void;
  onError(error: unknown): void;
}

type State =
  /** Its handler was not called yet. */
  | "waiting"
  /** Its handler is at work. */
  | "handling"
  /** The response's head was sent, its body goes on. */
  | "answering"
  | "ended";

/** What a handler is told beside the request. */
class LaneInfo extends ForwardedInfo {
  constructor(private readonly stream: LaneStream) {
    super(stream);
  }

  get upgrade(): RequestInfo["upgrade"] {
    return this.stream.head.isUpgrade ? (fields) => this.stream.upgrade(fields) : undefined;
  }
}

export class LaneStream implements RequestSource, InfoSource, BodyOwner, TunnelStream {
  state: State = "waiting";
  private begunAtMs = 0;
  /** Of a response whose body does not leave with its head. */
  private sender: BodySender | undefined;
  private source: BlockSource | undefined;
  private readonly body: RequestBody | undefined;
  /** What the balancer may still send of the request's body, in bytes. */
  private granted = REQUEST_WINDOW_BYTES;
  private received = 0;
  private controller: AbortController | undefined;
  private isGone = false;
  /** The client waits to be told that the app wants the body. */
  private owesContinue: boolean;

  constructor(
    private readonly lane: StreamLane,
    private readonly requests: RequestServices,
    readonly id: number,
    /** Its number among the requests of its lane, from 1. */
    readonly sequence: number,
    readonly head: LaneRequestHead,
    /** What the balancer takes of the response before it grants more, in bytes. */
    private window: number,
  ) {
    this.owesContinue = head.expectsContinue;
    this.body = head.isWhole
      ? undefined
      : new RequestBody(
          (bytes) => this.grant(bytes),
          () => this.continue(),
        );
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

  /** The app asks for the body: a client that waits for that is told, unless it has begun to send or was answered. */
  private continue(): void {
    if (!this.owesContinue) return;
    this.owesContinue = false;
    if (this.state !== "handling" || this.received > 0) return;
    this.window -= putInterimResponse(this.lane.output.frames, this.id, 100);
    this.lane.output.flushSoon();
  }

  private grant(bytes: number): void {
    this.granted += bytes;
    this.lane.grant(this, bytes);
  }

  /** The request's body, whose length was not told, has grown over the limit: nobody waits for what the handler makes of it. */
  private tooLong(): void {
    if (this.state === "ended") return;
    if (this.state === "answering") this.fail();
    else this.refuse(413);
    this.body?.fail(new Error("the request's body is longer than the limit"));
    this.lane.output.flushSoon();
  }

  onWindow(bytes: number): void {
    if (this.sender === undefined) this.window += bytes;
    else this.sender.onWindow(bytes);
  }

  /** The client has gone, or the lane with it. */
  onCancel(): void {
    if (this.state === "ended") return;
    this.isGone = true;
    this.end();
    const gone = new DOMException("the client has left", "AbortError");
    this.controller?.abort(gone);
    this.body?.fail(gone);
    this.source?.cancel();
  }

  // The handler.

  /** Calls the handler. */
  begin(): void {
    const { lane, requests } = this;
    this.handled();
    this.begunAtMs = performance.now();
    let result: unknown;
    try {
      result = requests.handler(makeRequest(this.head, this), new LaneInfo(this));
      if (this.isResponse(result)) return this.respond(result);
    } catch (error) {
      return this.failed(error);
    }
    if (this.head.isIdempotent) lane.output.owesStarted(this);
    Promise.resolve(result).then(this.answered, this.failed);
  }

  private readonly answered = (response: unknown): void => {
    if (this.state !== "handling") return this.leave(response);
    try {
      if (!this.isResponse(response)) {
        throw new TypeError("the handler did not return a Response");
      }
      this.respond(response);
    } catch (error) {
      this.failed(error);
    }
    this.lane.output.flushSoon();
  };

  private isResponse(value: unknown): value is Response {
    return this.requests.responses.isResponse(value) || value instanceof UpgradeResponse;
  }

  /** A response that comes when its client has gone: what it holds is let go. */
  private leave(response: unknown): void {
    const { responses } = this.requests;
    if (!responses.isResponse(response) || response.bodyUsed) return;
    const file = fileBodyOf(response);
    if (file !== undefined) return file.close();
    const body = responses.body(response);
    if (body !== null && typeof body === "object" && !(body instanceof Uint8Array || body instanceof Blob))
      blocksOf(body).cancel();
  }

  readonly failed = (error: unknown): void => {
    const { lane } = this;
    // A handler that gives up with its client has no fault to tell of.
    if (!this.isGone || (error as Error | undefined)?.name !== "AbortError") lane.onError(error);
    if (this.state === "ended") return;
    if (this.state !== "handling") return this.fail();
    this.refuse(500);
    lane.output.flushSoon();
  };

  /** It counts from here on. */
  private handled(): void {
    if (this.state !== "waiting") return;
    this.state = "handling";
    this.lane.active++;
    this.requests.counter.begin();
  }

  /** Answers without the app. */
  refuse(status: number, fields = "", text = `${REASONS[status]}\n`): void {
    this.handled();
    this.requests.counter.errors++;
    const head = this.headOf(status, "", `content-type: text/plain\r\n${fields}`);
    if (this.isHead) return this.sendHeadAlone(head, text.length);
    putTextResponse(this.lane.output.frames, this.id, head, text);
    this.end();
  }

  private get isHead(): boolean {
    return this.head.method === "HEAD";
  }

  private respond(response: Response): void {
    if (response instanceof UpgradeResponse) return this.switchOver(response);
    const { counter } = this.requests;
    const now = performance.now();
    counter.latency.record((now - this.begunAtMs) * 1000);
    if (response.status >= 500) counter.errors++;
    this.send(response);
    this.lane.output.progressed(now);
  }

  /** From here on the stream is a tunnel. */
  private switchOver(upgrade: UpgradeResponse): void {
    this.beginBody(this.headOf(101, "", upgrade.lines), -1);
    upgrade.onSwitched();
  }

  private headOf(status: number, reason: string, fields: string): LaneResponseHead {
    const micros = this.begunAtMs === 0 ? 0 : (performance.now() - this.begunAtMs) * 1000;
    return { status, reason, fields, micros };
  }

  private send(response: Response): void {
    const { responses } = this.requests;
    const { status, statusText } = response;
    const { text, contentLength, hasContentType } = responses.fields(response);
    checkFields(text);
    if (Number.isNaN(contentLength)) throw new TypeError("the response's Content-Length is not a number");
    if (response.bodyUsed) throw new TypeError("the response's body was already read");
    const head = this.headOf(status, sendableReason(statusText), text);
    const file = fileBodyOf(response);
    if (file !== undefined) return this.sendFile(head, file);
    const body = responses.body(response);
    if (body === null) {
      // What the body would be is told where there is none by rule; elsewhere none is none.
      return this.sendHeadAlone(head, this.isHead || status === 204 || status === 304 ? contentLength : 0);
    }
    if (typeof body === "string") {
      if (!hasContentType) head.fields += "content-type: text/plain;charset=utf-8\r\n";
      return this.sendText(head, body);
    }
    if (body instanceof Uint8Array) return this.sendBytes(head, body);
    const length = body instanceof Blob ? body.size : contentLength;
    const source = blocksOf(body instanceof Blob ? body.stream() : body);
    if (this.isHead) {
      source.cancel();
      return this.sendHeadAlone(head, length);
    }
    this.source = source;
    void writeBlocks(source, this.beginBody(head, length), () => this.state === "ended");
  }

  private sendText(head: LaneResponseHead, text: string): void {
    if (this.isHead) return this.sendHeadAlone(head, Buffer.byteLength(text));
    // A character is three bytes at most.
    if (text.length * 3 > SMALL_BODY_BYTES || this.lane.output.isFull) return this.sendBytes(head, Buffer.from(text));
    putTextResponse(this.lane.output.frames, this.id, head, text);
    this.end();
  }

  private sendBytes(head: LaneResponseHead, bytes: Uint8Array): void {
    if (this.isHead || bytes.length === 0) return this.sendHeadAlone(head, bytes.length);
    if (bytes.length > SMALL_BODY_BYTES || this.lane.output.isFull)
      return this.beginBody(head, bytes.length).sendAll(bytes);
    putResponse(this.lane.output.frames, this.id, head, bytes.length, false);
    this.lane.output.frames.copy(FrameType.END, this.id, bytes, 0, bytes.length);
    this.end();
  }

  private sendFile(head: LaneResponseHead, file: FileBody): void {
    if (!this.isHead) return this.beginBody(head, file.length).sendFile(file);
    file.close();
    this.sendHeadAlone(head, file.length);
  }

  private sendHeadAlone(head: LaneResponseHead, length: number): void {
    putResponse(this.lane.output.frames, this.id, head, length, true);
    this.end();
  }

  /** Sends the head of a response whose body follows. */
  private beginBody(head: LaneResponseHead, length: number): BodySender {
    putResponse(this.lane.output.frames, this.id, head, length, false);
    this.state = "answering";
    this.sender = new BodySender(this.lane.output, this, this.window, length < 0 ? Number.POSITIVE_INFINITY : length);
    return this.sender;
  }

  onBodyEnd(): void {
    this.end();
  }

  /** The response cannot be finished: the client must see that. */
  private fail(): void {
    this.lane.output.frames.empty(FrameType.FAIL, this.id);
    this.source?.cancel();
    this.end();
    this.lane.output.flushSoon();
  }

  private end(): void {
    if (this.state !== "waiting") this.lane.active--;
    this.state = "ended";
    this.sender?.stop();
    this.lane.ended(this);
  }

  /** Takes the upgrade that the request asks for. */
  upgrade(fields?: Readonly<Record<string, string>>): Upgrade {
    return makeUpgrade(this, this.head.get("upgrade") ?? "", fields);
  }

  write(block: Uint8Array): boolean {
    return this.sender?.write(block) ?? true;
  }

  drained(): Promise<void> {
    return this.sender?.drained() ?? Promise.resolve();
  }

  endBody(): void {
    this.sender?.endBody();
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

  // For the request and what is told beside it.

  header(name: string): string | null {
    return this.head.get(name);
  }

  /** The balancer's, which has none. */
  remoteAddress(): undefined {
    return undefined;
  }

  signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.isGone) this.controller.abort(new DOMException("the client has left", "AbortError"));
    }
    return this.controller.signal;
  }
}
