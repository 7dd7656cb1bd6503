/** Reports when a response of a fetch handler was sent, and how much of it. */

import type { RequestInfo } from "../../shared/app.js";
import { type BlockSource, blocksOf, toBytes } from "../../shared/blocks.js";
import { hasEnded } from "../../shared/bridge.js";
import { KEPT_BODY, type KeptBody, keptBody } from "../../shared/kept-body.js";
import type { Outcome } from "./access-line.js";
import { piecesOf, streamOf } from "./blocks.js";

/** Called once. `bytes` is the number of body bytes sent; undefined if unknown. */
type OnEnd = (outcome: Outcome, bytes: number | undefined) => void;

/** A body up to this size is sent with its head, in bytes. */
const SMALL_BYTES = 65_536;
/** The interval for checking responses that the platform sends by itself, in milliseconds. */
const LOOK_EVERY_MS = 100;

/** Returns the response to send instead. */
export function watchResponse(request: Request, info: RequestInfo, response: Response, onEnd: OnEnd): Response {
  // For an upgrade only the head counts.
  if (!(response instanceof Response)) {
    onEnd("whole", 0);
    return response;
  }
  if (request.signal.aborted) {
    onEnd("aborted", 0);
    return response;
  }
  const kept = keptBody(response);
  if (request.method === "HEAD" || (kept === undefined && (response.body === null || response.bodyUsed))) {
    onEnd("whole", 0);
    return response;
  }
  if (kept === undefined) {
    // A Response created by Bun may hold a text, and a copy would lose its type.
    if (process.versions.bun !== undefined && !(KEPT_BODY in response) && !response.headers.has("content-type")) {
      onEnd("whole", undefined);
      return response;
    }
    return withBody(response, blocksOf(response.body as ReadableStream<Uint8Array>), onEnd);
  }
  const bytes = sizeOf(kept);
  if (hasEnded(info) !== undefined) {
    watchFromOutside(request, info, bytes, onEnd);
    return response;
  }
  if (bytes <= SMALL_BYTES) {
    onEnd("whole", bytes);
    return response;
  }
  const copy = withBody(response, blocksIn(kept), onEnd);
  if (typeof kept === "string" && !copy.headers.has("content-type")) copy.headers.set("content-type", TEXT_TYPE);
  copy.headers.set("content-length", String(bytes));
  return copy;
}

const TEXT_TYPE = "text/plain;charset=utf-8";

function sizeOf(kept: KeptBody): number {
  if (typeof kept === "string") return Buffer.byteLength(kept);
  return kept instanceof Blob ? kept.size : kept.length;
}

function blocksIn(kept: KeptBody): BlockSource {
  if (kept instanceof Blob) return blocksOf(kept.stream() as ReadableStream<Uint8Array>);
  return piecesOf(typeof kept === "string" ? Buffer.from(kept) : kept, SMALL_BYTES);
}

/** Returns the same response with a body that counts the bytes read. */
function withBody(response: Response, source: BlockSource, onEnd: OnEnd): Response {
  const { status, statusText } = response;
  const body = streamOf(new CountedBlocks(source, onEnd));
  return new Response(body, { status, statusText, headers: new Headers(response.headers) });
}

class CountedBlocks implements BlockSource {
  private bytes = 0;
  private hasEnded = false;

  constructor(
    private readonly source: BlockSource,
    private readonly onEnd: OnEnd,
  ) {}

  async next(): Promise<{ done?: boolean; value?: unknown }> {
    try {
      const result = await this.source.next();
      if (result.done) this.end("whole");
      else this.bytes += toBytes(result.value).length;
      return result;
    } catch (error) {
      this.end("failed");
      throw error;
    }
  }

  cancel(): void {
    this.source.cancel();
    this.end("aborted");
  }

  private end(outcome: Outcome): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.onEnd(outcome, this.bytes);
  }
}

/** Watches a response given to the platform whole; most are sent by the next turn of the event loop. */
function watchFromOutside(request: Request, info: RequestInfo, bytes: number, onEnd: OnEnd): void {
  const look = () => {
    if (!hasEnded(info)) return false;
    const isAborted = request.signal.aborted;
    onEnd(isAborted ? "aborted" : "whole", isAborted ? undefined : bytes);
    return true;
  };
  setImmediate(() => {
    if (look()) return;
    const timer = setInterval(() => {
      if (look()) clearInterval(timer);
    }, LOOK_EVERY_MS);
  });
}
