/** The instance's side of one request over the lane: its body, its handler, and its end. */
import { areTrailerLines, trailersOf } from "@paceline/wire";
import { FrameType, REQUEST_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import type { LaneRequestHead } from "@paceline/wire/lane/request-head";
import { putTextResponse } from "@paceline/wire/lane/response-head";
import { REASONS } from "@paceline/wire/reasons";
import { fileBodyOf } from "../kinds/static/file-body.js";
import { ForwardedInfo, type RequestSource as InfoSource } from "../process/request-info.js";
import type { RequestInfo, Upgrade } from "../shared/app.js";
import { blocksOf } from "../shared/blocks.js";
import { makeRequest, type RequestSource } from "./lane-request.js";
import { RequestBody } from "./request-body.js";
import { checkedStatus } from "./response-reader.js";
import { type RequestServices, type ResponseLane, ResponseSender } from "./response-sender.js";
import { makeUpgrade, type TunnelStream, UpgradeResponse } from "./upgrade.js";

/** What a stream needs of its lane. */
export interface StreamLane extends ResponseLane {
  readonly maxBodyBytes: number;
  /** Whether STARTED is also sent after an announced handler has returned. */
  readonly saysReturned: boolean;
  /** The number of requests whose handler was called and whose response is not sent yet. */
  active: number;
  /** Whether the bodies together have reached the limit above which the balancer may send little of each. */
  readonly isCrowded: boolean;
  /** Counts received bytes of a body. A negative number means that they were granted again, or that their stream has ended. */
  count(bytes: number): void;
  /** Lets the balancer send more bytes of the body. */
  grant(stream: LaneStream, bytes: number): void;
  ended(stream: LaneStream): void;
  onError(error: unknown): void;
}

/** The handler's second argument. */
class LaneInfo extends ForwardedInfo {
  constructor(private readonly stream: LaneStream) {
    super(stream);
  }

  get upgrade(): RequestInfo["upgrade"] {
    return this.stream.head.isUpgrade ? (fields) => this.stream.upgrade(fields) : undefined;
  }
}

export class LaneStream extends ResponseSender implements RequestSource, InfoSource, TunnelStream {
  declare protected readonly lane: StreamLane;
  private readonly body: RequestBody | undefined;
  /** The number of bytes of the request body that the balancer may still send. */
  private granted = REQUEST_WINDOW_BYTES;
  private received = 0;
  private controller: AbortController | undefined;
  private isGone = false;
  /** Whether the client waits for 100 Continue. */
  private owesContinue: boolean;

  constructor(
    lane: StreamLane,
    requests: RequestServices,
    id: number,
    /** Its sequence number on the lane, from 1. */
    readonly sequence: number,
    head: LaneRequestHead,
    window: number,
  ) {
    super(lane, requests, id, head, window);
    this.owesContinue = head.expectsContinue;
    this.body = head.isWhole
      ? undefined
      : new RequestBody(
          (bytes) => this.grant(bytes),
          () => this.continue(),
          () => lane.isCrowded,
        );
  }

  // From the balancer:

  /** Handles a piece of the request body; returns false if it is unexpected or too long. */
  onBody(bytes: Buffer, start: number, end: number, isLast: boolean): boolean {
    const { body } = this;
    this.granted -= end - start;
    this.lane.count(end - start);
    if (body === undefined || body.isComplete || this.granted < 0) return false;
    if (body.trailers !== "" && end > start) return false;
    this.received += end - start;
    if (this.received > this.lane.maxBodyBytes && !this.head.isUpgrade) {
      this.tooLong();
      return true;
    }
    if (end > start) body.add(bytes, start, end);
    if (isLast) body.finish();
    return true;
  }

  /** Handles the trailers of the request's body. Returns false if none are allowed. */
  onTrailers(lines: string): boolean {
    const { body } = this;
    if (body === undefined || body.isComplete || body.trailers !== "" || this.head.isUpgrade) return false;
    if (!areTrailerLines(lines)) return false;
    body.trailers = lines;
    return true;
  }

  /** Called when the app reads the body. Sends 100 Continue if the client waits for it and nothing else was sent. */
  private continue(): void {
    if (!this.owesContinue) return;
    this.owesContinue = false;
    if (this.state !== "handling" || this.received > 0) return;
    this.sendContinue();
  }

  private grant(bytes: number): void {
    if (this.state === "ended") return;
    this.granted += bytes;
    this.lane.count(-bytes);
    this.lane.grant(this, bytes);
  }

  /** Called when the lane becomes crowded: the balancer may now wait for a grant of what the app has read. */
  grantRead(): void {
    this.body?.grantStarved();
  }

  /** Called when a request body without a declared length exceeds the limit. The handler's response is then ignored. */
  private tooLong(): void {
    if (this.state === "ended") return;
    if (this.state === "responding") this.fail();
    else this.refuse(413);
    this.body?.fail(new Error("the request's body is longer than the limit"));
    this.lane.output.flushSoon();
  }

  /** Called when the client has left or the lane is closed. */
  onCancel(): void {
    if (this.state === "ended") return;
    this.isGone = true;
    this.end();
    const gone = new DOMException("the client has left", "AbortError");
    this.controller?.abort(gone);
    this.body?.fail(gone);
    this.source?.cancel();
  }

  // The handler:

  /** Calls the handler, and returns the time when it has returned. */
  begin(nowMs: number): number {
    const { lane, requests } = this;
    this.handled();
    this.startedAtMs = nowMs;
    let result: unknown;
    try {
      result = requests.handler(makeRequest(this.head, this), new LaneInfo(this));
      if (this.isResponse(result)) return this.respond(result);
    } catch (error) {
      this.failed(error);
      return performance.now();
    }
    if (this.head.isIdempotent || lane.saysReturned) lane.output.owesStarted(this);
    // Created here instead of with the stream, because most handlers return a response at once.
    Promise.resolve(result).then(
      (response) => this.onReturned(response),
      (error) => this.failed(error),
    );
    return performance.now();
  }

  private onReturned(response: unknown): void {
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

  /** Releases a response that was returned after its client had left. */
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
    // A handler that is aborted with its client has not failed.
    if (!this.isGone || (error as Error | undefined)?.name !== "AbortError") lane.onError(error);
    if (this.state === "ended") return;
    if (this.state !== "handling") return this.fail();
    this.refuse(500);
    lane.output.flushSoon();
  }

  onError(error: unknown): void {
    this.lane.onError(error);
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

  /** Returns the time at its end. */
  private respond(response: Response): number {
    const now = performance.now();
    if (response instanceof UpgradeResponse) {
      this.switchOver(response);
      return now;
    }
    const { counter } = this.requests;
    counter.latency.record((now - this.startedAtMs) * 1000);
    const status = checkedStatus(response.status);
    if (status >= 500) counter.errors++;
    this.send(response, status, now);
    this.lane.output.progressed(now);
    // A long body has taken more time.
    return this.isOver ? now : performance.now();
  }

  /** Turns the stream into a tunnel. */
  private switchOver(upgrade: UpgradeResponse): void {
    this.beginBody(this.headOf(101, "", upgrade.lines), -1);
    upgrade.onSwitched();
  }

  /** Called when the response cannot be completed, so that the client notices it. */
  private fail(): void {
    this.lane.output.frames.empty(FrameType.FAIL, this.id);
    this.source?.cancel();
    this.end();
    this.lane.output.flushSoon();
  }

  protected override end(): void {
    if (this.state !== "waiting") this.lane.active--;
    this.state = "ended";
    this.lane.count(this.granted - REQUEST_WINDOW_BYTES);
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

  // For the request:

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

  /** Behind a balancer there is no address. */
  remoteAddress(): undefined {
    return undefined;
  }

  requestTrailers(): Headers {
    return new Headers(this.body?.isComplete === true ? trailersOf(this.body.trailers) : []);
  }

  signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.isGone) this.controller.abort(new DOMException("the client has left", "AbortError"));
    }
    return this.controller.signal;
  }
}
