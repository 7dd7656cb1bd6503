/** Enforces limits of request bodies on node:http, which has none. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ServerLimits } from "../shared/limits.js";
import type { BodyWaits } from "./body-watch.js";
import { beginPieces, countPiece, endPieces } from "./held-sockets.js";
import { respondPlainly } from "./node-responses.js";
import type { UnreadRequests } from "./node-watches.js";

/** Smaller pieces of a body are joined, in bytes. */
const JOIN_BELOW_BYTES = 4096;

/** A smaller body is read completely before the stream pauses, in bytes. */
const SMALL_BODY_BYTES = 16_384;

/**
 * Watches a request body: its size, the time between pieces, and whether the client leaves while the body is not read. Returns false if the
 * request got a 413 and must not reach the handler.
 * @param waits undefined if the balancer enforces the timeouts of bodies
 */
export function limitBody(
  request: IncomingMessage,
  response: ServerResponse,
  limits: ServerLimits,
  waits: BodyWaits<Socket> | undefined,
  unread?: UnreadRequests,
): boolean {
  const { headers } = request;
  const length = headers["content-length"];
  const chunked = headers["transfer-encoding"] !== undefined;
  if (!chunked && (length === undefined || length === "0")) return true;
  if (Number(length ?? 0) > limits.maxBodyBytes) {
    refuse(response);
    return false;
  }
  if (waits !== undefined) watchTime(request, waits);
  if (chunked) watchSize(request, response, limits.maxBodyBytes);
  if (chunked || Number(length) > SMALL_BODY_BYTES) unread?.watch(request);
  return true;
}

/** The wait starts when the stream asks for data, and ends when its buffer is full or the body is complete. */
function watchTime(request: IncomingMessage, waits: BodyWaits<Socket>): void {
  const wait = { owner: request.socket, since: 0 };
  const { _read: read, push } = request;
  request._read = function readWatched(size: number): void {
    if (!request.complete) waits.begin(wait);
    read.call(request, size);
  };
  request.push = function pushWatched(chunk: Buffer | null): boolean {
    const takesMore = push.call(request, chunk);
    if (chunk === null || !takesMore) waits.end(wait);
    else waits.begin(wait);
    return takesMore;
  };
  request.once("close", () => waits.end(wait));
}

/** Counts bytes as the parser delivers them, because a listener would start reading the body. */
function watchSize(request: IncomingMessage, response: ServerResponse, maxBodyBytes: number): void {
  const push = joiningPush(request);
  const { socket } = request;
  let bytes = 0;
  beginPieces(socket);
  request.once("close", () => endPieces(socket));
  request.push = function pushCounted(chunk: Buffer | null): boolean {
    if (chunk === null) endPieces(socket);
    else bytes += chunk.length;
    if (bytes <= maxBodyBytes) return push(chunk);
    if (!response.headersSent) refuse(response);
    request.destroy(new Error(`the body is longer than ${maxBodyBytes} bytes`));
    return false;
  };
}

/** Joins small pieces within a turn: a client may send one-byte chunks, and each would take a hundred bytes of memory. */
function joiningPush(request: IncomingMessage): (chunk: Buffer | null) => boolean {
  const push = request.push.bind(request);
  const { socket } = request;
  let joined = Buffer.alloc(0);
  let length = 0;
  const flush = () => {
    if (length === 0) return;
    const piece = joined.subarray(0, length);
    joined = Buffer.alloc(0);
    length = 0;
    if (!request.destroyed) push(piece);
  };
  return (chunk) => {
    if (chunk === null || chunk.length >= JOIN_BELOW_BYTES) {
      flush();
      return push(chunk);
    }
    countPiece(socket);
    // Ticks run between two pieces of one read.
    if (length === 0) setImmediate(flush);
    if (length + chunk.length > joined.length) {
      const room = Buffer.allocUnsafeSlow(length === 0 ? chunk.length : 2 * (length + chunk.length));
      joined.copy(room, 0, 0, length);
      joined = room;
    }
    length += chunk.copy(joined, length);
    return request.readableLength + length < request.readableHighWaterMark;
  };
}

function refuse(response: ServerResponse): void {
  respondPlainly(response, 413, { connection: "close" });
}
