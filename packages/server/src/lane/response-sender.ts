/** Sends the response to one request over its lane: the head, the body in the cheapest way, and trailers. */
import { FrameType } from "@paceline/wire/lane/protocol";
import type { LaneRequestHead } from "@paceline/wire/lane/request-head";
import {
  type LaneResponseHead,
  putInterimResponse,
  putResponse,
  putTextResponse,
} from "@paceline/wire/lane/response-head";
import { type FileBody, fileBodyOf } from "../kinds/static/file-body.js";
import type { RequestCounter } from "../process/request-counter.js";
import { AddedTrailers, type TrailerFields } from "../shared/added-trailers.js";
import type { FetchHandler } from "../shared/app.js";
import { type BlockSource, blocksOf } from "../shared/blocks.js";
import { type BodyOwner, BodySender, SMALL_BODY_BYTES } from "./body-sender.js";
import type { LaneOutput } from "./lane-output.js";
import { checkFields, isCoded, type ResponseReader, sendableReason, writeBlocks } from "./response-reader.js";

/** The services for requests on a lane. */
export interface RequestServices {
  handler: FetchHandler;
  responses: ResponseReader;
  counter: RequestCounter;
}

/** What a response needs of its lane. */
export interface ResponseLane {
  readonly output: LaneOutput;
  /** Whether the balancer supports TRAILERS. */
  readonly takesTrailers: boolean;
}

type State =
  /** Its handler was not called yet. */
  | "waiting"
  /** Its handler is running. */
  | "handling"
  /** The response's head was sent; its body continues. */
  | "responding"
  | "ended";

export abstract class ResponseSender implements BodyOwner {
  state: State = "waiting";
  protected startedAtMs = 0;
  /** The sender of a body that was not sent with its head. */
  protected sender: BodySender | undefined;
  protected source: BlockSource | undefined;
  private added: AddedTrailers | undefined;

  constructor(
    protected readonly lane: ResponseLane,
    protected readonly requests: RequestServices,
    readonly id: number,
    readonly head: LaneRequestHead,
    /** The initial window of the response body, in bytes. */
    private window: number,
  ) {}

  abstract failed(error: unknown): void;
  abstract onError(error: unknown): void;
  /** Called when the response was sent, or its request was abandoned. */
  protected abstract end(): void;

  onWindow(bytes: number): void {
    if (this.sender === undefined) this.window += bytes;
    else this.sender.onWindow(bytes);
  }

  protected get isHead(): boolean {
    return this.head.method === "HEAD";
  }

  protected headOf(status: number, reason: string, fields: string, now = performance.now()): LaneResponseHead {
    const micros = this.startedAtMs === 0 ? 0 : (now - this.startedAtMs) * 1000;
    return { status, reason, fields, micros };
  }

  protected sendContinue(): void {
    this.window -= putInterimResponse(this.lane.output.frames, this.id, 100);
    this.lane.output.flushSoon();
  }

  /** @throws TypeError if it cannot be sent */
  protected send(response: Response, status: number, now: number): void {
    const { responses } = this.requests;
    const { statusText } = response;
    const { text, contentLength, hasContentType } = responses.fields(response);
    checkFields(text);
    if (Number.isNaN(contentLength)) throw new TypeError("the response's Content-Length is not a number");
    // Like servers of the platforms, it sends what is left of a body that the app has read in part.
    if (response.bodyUsed && response.body?.locked !== false)
      throw new TypeError("the response's body was already read");
    const head = this.headOf(status, sendableReason(statusText), text, now);
    const file = fileBodyOf(response);
    if (file !== undefined) return this.sendFile(head, file);
    let body = responses.body(response);
    const hasNone = status === 204 || status === 304;
    if (body === null || hasNone) {
      if (typeof body === "object" && body !== null && !(body instanceof Uint8Array || body instanceof Blob))
        blocksOf(body).cancel();
      // If the status has no body, the length of the omitted body is sent; otherwise the length is 0.
      return this.sendHeadAlone(head, this.isHead || hasNone ? contentLength : 0);
    }
    if (typeof body === "string" && !hasContentType) head.fields += "content-type: text/plain;charset=utf-8\r\n";
    // A body whose length is known has no trailers.
    const isOpen = this.added !== undefined && contentLength < 0 && this.trailers !== "";
    if (isOpen && (typeof body === "string" || body instanceof Uint8Array)) body = inOneBlock(body);
    if (typeof body === "string") return this.sendText(head, body);
    if (body instanceof Uint8Array) return this.sendBytes(head, body);
    const length = body instanceof Blob && !isOpen ? body.size : contentLength;
    const source = blocksOf(body instanceof Blob ? body.stream() : body);
    if (this.isHead) {
      source.cancel();
      return this.sendHeadAlone(head, length);
    }
    this.source = source;
    const isKnown = length >= 0 && (body instanceof Blob || !isCoded(text));
    void writeBlocks(source, this.beginBody(head, isKnown ? length : -1), () => this.state === "ended");
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

  protected sendHeadAlone(head: LaneResponseHead, length: number): void {
    putResponse(this.lane.output.frames, this.id, head, length, true);
    this.end();
  }

  /** Sends the head of a response whose body follows. */
  protected beginBody(head: LaneResponseHead, length: number): BodySender {
    putResponse(this.lane.output.frames, this.id, head, length, false);
    this.state = "responding";
    this.sender = new BodySender(this.lane.output, this, this.window, length < 0 ? Number.POSITIVE_INFINITY : length);
    return this.sender;
  }

  onBodyEnd(): void {
    this.end();
  }

  /** @throws TypeError if they cannot be sent */
  addTrailers(fields: TrailerFields): void {
    if (this.state === "ended") return;
    this.added ??= new AddedTrailers();
    this.added.add(fields);
  }

  /** The trailers that follow the body, as lines. */
  get trailers(): string {
    const { added, lane, head } = this;
    if (added === undefined || !lane.takesTrailers || this.isHead || head.isUpgrade) return "";
    return head.get("te") === "trailers" ? added.lines : "";
  }
}

async function* inOneBlock(body: string | Uint8Array): AsyncGenerator<string | Uint8Array> {
  yield body;
}
