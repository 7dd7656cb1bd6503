/**
 * Responses on node:http. Enforces Content-Length and builds the responses that the server generates itself. A failed response never looks
 * complete.
 */
import { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { REASONS } from "@paceline/wire/reasons";
import { keyOf, resetAtClose } from "./bun-clients.js";

/** `_contentLength` is Node's copy of the length given to `writeHead`. */
type Counted = ServerResponse & {
  _contentLength?: number | null;
  [WRITTEN]?: number;
  [ON_NOTICE]?: ((problem: string) => void) | undefined;
};
type Callback = (error?: Error | null) => void;

const WRITTEN = Symbol("written");
const ON_NOTICE = Symbol("onNotice");

/** @param onNotice receives a line about a handler that writes more or less than its Content-Length */
export function holdToLength(response: ServerResponse, onNotice: (problem: string) => void): void {
  // Set on the object itself, because frameworks replace its prototype.
  response.write = write as typeof response.write;
  response.end = end as typeof response.end;
  response.destroy = destroy as typeof response.destroy;
  (response as Counted)[ON_NOTICE] = onNotice;
}

/** Called by an app, or by a stream's `pipeline`, if the response cannot be completed. */
function destroy(this: ServerResponse, error?: Error): ServerResponse {
  cutIfPart(this);
  return ServerResponse.prototype.destroy.call(this, error);
}

/**
 * Resets the connection of an incomplete response that only the end of the connection would end (RFC 9112 §6.3): after FIN, its client would
 * take the part for the whole.
 * @param sendsRest whether the bytes that were written are still sent
 */
export function cutIfPart(response: ServerResponse, sendsRest = false): void {
  const isWhole = sendsRest ? response.writableEnded : response.writableFinished;
  if (!isWhole && endsWithConnection(response) && response.socket) cut(response.socket);
}

/** Ends a connection whose client is not served any more. */
export function endConnection(socket: Socket): void {
  const response = responseOn(socket);
  if (response !== undefined) cutIfPart(response);
  socket.destroy();
}

/** Returns the response that is being sent on this connection. */
export function responseOn(socket: Socket): ServerResponse | undefined {
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
}

function endsWithConnection(response: Counted): boolean {
  if (!response.headersSent && !hasWritten(response)) return false;
  return mayHaveBody(response) && !response.chunkedEncoding && declaredLength(response) === undefined;
}

function mayHaveBody({ statusCode, req }: Counted): boolean {
  return req.method !== "HEAD" && statusCode !== 204 && statusCode !== 304;
}

function declaredLength(response: Counted) {
  return response._contentLength ?? response.getHeader("content-length");
}

/** Returns whether the handler has written: for a queued response, Bun reports that no head was sent. */
function hasWritten(response: ServerResponse): boolean {
  return (response as Counted)[WRITTEN] !== undefined;
}

function write(this: Counted, chunk: unknown, encoding?: BufferEncoding | Callback, callback?: Callback): boolean {
  const base = ServerResponse.prototype.write as (...args: unknown[]) => boolean;
  const room = roomOf(this);
  if (room === undefined) {
    const isFlowing = base.call(this, chunk, encoding, callback);
    this[WRITTEN] ??= 0;
    return isFlowing;
  }
  const size = sizeOf(chunk, encoding);
  if (size <= room) {
    const isFlowing = base.call(this, chunk, encoding, callback);
    this[WRITTEN] = (this[WRITTEN] ?? 0) + size;
    return isFlowing;
  }
  reportOnce(this, "more");
  const then = typeof encoding === "function" ? encoding : callback;
  if (room === 0) {
    if (then !== undefined) process.nextTick(then);
    return true;
  }
  const isFlowing = base.call(this, bytesOf(chunk, encoding).subarray(0, room), then);
  this[WRITTEN] = (this[WRITTEN] ?? 0) + room;
  return isFlowing;
}

function end(
  this: Counted,
  chunk?: unknown,
  encoding?: BufferEncoding | Callback,
  callback?: Callback,
): ServerResponse {
  const base = ServerResponse.prototype.end as (...args: unknown[]) => ServerResponse;
  const room = this.writableEnded ? undefined : roomOf(this);
  if (room === undefined) return base.call(this, chunk, encoding, callback);
  const size = typeof chunk === "function" ? 0 : sizeOf(chunk, encoding);
  if (size === room) return base.call(this, chunk, encoding, callback);
  if (size > room) {
    reportOnce(this, "more");
    const then = typeof encoding === "function" ? encoding : callback;
    return room === 0 ? base.call(this, then) : base.call(this, bytesOf(chunk, encoding).subarray(0, room), then);
  }
  reportOnce(this, "less");
  base.call(this, chunk, encoding, callback);
  // The client must see that the rest is missing.
  if (this.socket !== null) cut(this.socket);
  else this.once("socket", cut);
  return this;
}

/** Returns the number of bytes that may still be written; undefined without a length or without a body. */
function roomOf(response: Counted): number | undefined {
  const declared = declaredLength(response);
  if (declared === undefined || response.chunkedEncoding || !mayHaveBody(response)) return undefined;
  const length = Number(declared);
  return Number.isSafeInteger(length) && length >= 0 ? length - (response[WRITTEN] ?? 0) : undefined;
}

function reportOnce(response: Counted, what: "more" | "less"): void {
  const { req, [ON_NOTICE]: onNotice } = response;
  response[ON_NOTICE] = undefined;
  onNotice?.(
    `the handler wrote ${what} than the ${declaredLength(response)} bytes of its Content-Length (${req.method} ${req.url?.split("?")[0]})`,
  );
}

function sizeOf(chunk: unknown, encoding: BufferEncoding | Callback | undefined): number {
  if (typeof chunk === "string") return Buffer.byteLength(chunk, typeof encoding === "string" ? encoding : undefined);
  return (chunk as Uint8Array | null | undefined)?.byteLength ?? 0;
}

function bytesOf(chunk: unknown, encoding: BufferEncoding | Callback | undefined): Uint8Array {
  if (typeof chunk !== "string") return chunk as Uint8Array;
  return Buffer.from(chunk, typeof encoding === "string" ? encoding : undefined);
}

/** Resets on TCP, because an HTTP/1.0 client takes a plain close for the end of the body. A unix socket has no reset. */
export function cut(socket: Duplex | null): void {
  const { remoteAddress: address, remotePort: port, resetAndDestroy } = (socket ?? {}) as Partial<Socket>;
  if (address === undefined || port === undefined || resetAndDestroy === undefined) return void socket?.destroy();
  if (process.versions.bun === undefined) return void resetAndDestroy.call(socket);
  resetAtClose(new Set([keyOf({ address, port })]));
  socket?.destroy();
}

/** Responds with a line of text; only before a head was sent. */
export function respondPlainly(
  response: ServerResponse,
  status: number,
  fields: Readonly<Record<string, string>> = {},
): void {
  for (const name of response.getHeaderNames()) if (name !== "connection") response.removeHeader(name);
  const reason = REASONS[status] ?? "";
  const body = `${reason}\n`;
  // Sets both explicitly, because Node keeps values of a head that it refused.
  response.writeHead(status, reason, { "content-type": "text/plain", "content-length": body.length, ...fields });
  response.end(body);
}

/** Ends a failed response with this status, or cuts the connection if a head was sent, so that it does not look complete. */
export function respondFailure(response: ServerResponse, status: number): void {
  if (!response.headersSent && !hasWritten(response)) return respondPlainly(response, status);
  if (response.writableEnded) return;
  if (response.socket) return cut(response.socket);
  // The response waits behind an earlier one of its connection, which must not be cut off.
  response.once("socket", cut);
}
