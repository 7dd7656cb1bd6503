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

/** The services for requests on a lane. */
export interface RequestServices {
  handler: FetchHandler;
  responses: ResponseReader;
  counter: RequestCounter;
}

/** The lane, as a stream sees it. */
export interface StreamLane {
  readonly output: LaneOutput;
  readonly maxBodyBytes: number;
  /** Whether STARTED also follows the return of a handler that was announced. */
  readonly saysReturned: boolean;
  /** Requests whose handler was called and whose response is not sent yet. */
  active: number;
  /** Lets the balancer send more bytes of the body. */
  grant(stream: LaneStream, bytes: number): void;
  ended(stream: LaneStream): void;
  onError(error: unknown): void;
}

type State =
  /** Its handler was not called yet. */
  | "waiting"
  /** Its handler is running. */
  | "handling"
  /** The response's head was sent; its body continues. */
  | "answering"
  | "ended";

/** The handler's second argument. */
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
  private startedAtMs = 0;
  /** The sender of a body that was not sent with its head. */
  private sender: BodySender | undefined;
  private source: BlockSource | undefined;
  private readonly body: RequestBody | undefined;
  /** The bytes of the request body the balancer may still send. */
  private granted = REQUEST_WINDOW_BYTES;
  private received = 0;
  private controller: AbortController | undefined;
  private isGone = false;
  /** The client waits for 100 Continue. */
  private owesContinue: boolean;

  constructor(
    private readonly lane: StreamLane,
    private readonly requests: RequestServices,
    readonly id: number,
    /** Its number among the requests of its lane, from 1. */
    readonly sequence: number,
    readonly head: LaneRequestHead,
    /** The initial window of the response body, in bytes. */
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

  /** Handles a piece of the request body; returns false if it is unexpected or too long. */
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

  /** The app reads the body: sends 100 Continue if the client waits for it and nothing else was sent. */
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

  /** A request body without a declared length exceeds the limit: ignores the handler's response. */
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

  /** The client has left or the lane is closed. */
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
    this.startedAtMs = performance.now();
    let result: unknown;
    try {
      result = requests.handler(makeRequest(this.head, this), new LaneInfo(this));
      if (this.isResponse(result)) return this.respond(result);
    } catch (error) {
      return this.failed(error);
    }
    if (this.head.isIdempotent || lane.saysReturned) lane.output.owesStarted(this);
    // Made here rather than with the stream: most handlers return a response at once.
    Promise.resolve(result).then(
      (response) => this.answered(response),
      (error) => this.failed(error),
    );
  }

  private answered(response: unknown): void {
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
  }

  private isResponse(value: unknown): value is Response {
    return this.requests.responses.isResponse(value) || value instanceof UpgradeResponse;
  }

  /** Releases a response that comes after its client has left. */
  private leave(response: unknown): void {
    const { responses } = this.requests;
    if (!responses.isResponse(response) || response.bodyUsed) return;
    const file = fileBodyOf(response);
    if (file !== undefined) return file.close();
    const body = responses.body(response);
    if (body !== null && typeof body === "object" && !(body instanceof Uint8Array || body instanceof Blob))
      blocksOf(body).cancel();
  }

  failed(error: unknown): void {
    const { lane } = this;
    // A handler that aborts with its client has not failed.
    if (!this.isGone || (error as Error | undefined)?.name !== "AbortError") lane.onError(error);
    if (this.state === "ended") return;
    if (this.state !== "handling") return this.fail();
    this.refuse(500);
    lane.output.flushSoon();
  }

  /** Counts the request from here on. */
  private handled(): void {
    if (this.state !== "waiting") return;
    this.state = "handling";
    this.lane.active++;
    this.requests.counter.begin();
  }

  /** Responds without the app. */
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
    counter.latency.record((now - this.startedAtMs) * 1000);
    if (response.status >= 500) counter.errors++;
    this.send(response, now);
    this.lane.output.progressed(now);
  }

  /** Turns the stream into a tunnel. */
  private switchOver(upgrade: UpgradeResponse): void {
    this.beginBody(this.headOf(101, "", upgrade.lines), -1);
    upgrade.onSwitched();
  }

  private headOf(status: number, reason: string, fields: string, now = performance.now()): LaneResponseHead {
    const micros = this.startedAtMs === 0 ? 0 : (now - this.startedAtMs) * 1000;
    return { status, reason, fields, micros };
  }

  private send(response: Response, now: number): void {
    const { responses } = this.requests;
    const { status, statusText } = response;
    const { text, contentLength, hasContentType } = responses.fields(response);
    checkFields(text);
    if (Number.isNaN(contentLength)) throw new TypeError("the response's Content-Length is not a number");
    if (response.bodyUsed) throw new TypeError("the response's body was already read");
    const head = this.headOf(status, sendableReason(statusText), text, now);
    const file = fileBodyOf(response);
    if (file !== undefined) return this.sendFile(head, file);
    const body = responses.body(response);
    if (body === null) {
      // Without a body by rule, the length of the omitted body is sent; otherwise it is 0.
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
    // A character is at most three bytes.
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

  /** The response cannot be completed: the client must notice. */
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

  /** Accepts the request's upgrade. */
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

  // Methods of the Request and of the handler's second argument (RequestInfo).

  header(name: string): string | null {
    return this.head.get(name);
  }

  /** Behind a balancer there is none. */
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
