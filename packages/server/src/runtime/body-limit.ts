/** Holds the bodies of requests to their limits on node:http, which has none for them. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerLimits } from "../limits.js";
import { answerPlainly } from "./plain-answer.js";

/**
 * Watches the body of a request: its size, and the time between its pieces. Returns false when the request has been
 * answered 413 already and must not reach the handler.
 */
export function limitBody(request: IncomingMessage, response: ServerResponse, limits: ServerLimits): boolean {
  const { headers } = request;
  const length = headers["content-length"];
  const chunked = headers["transfer-encoding"] !== undefined;
  if (!chunked && (length === undefined || length === "0")) return true;
  if (Number(length ?? 0) > limits.maxBodyBytes) {
    refuse(response);
    return false;
  }
  watchTime(request, limits.bodyTimeoutMs);
  if (chunked) watchSize(request, response, limits.maxBodyBytes);
  return true;
}

function watchTime(request: IncomingMessage, bodyTimeoutMs: number): void {
  const { socket } = request;
  const expired = () => socket.destroy();
  socket.setTimeout(bodyTimeoutMs, expired);
  request.once("close", () => {
    socket.removeListener("timeout", expired);
    socket.setTimeout(0);
  });
  request.once("end", () => {
    socket.removeListener("timeout", expired);
    socket.setTimeout(0);
  });
}

/** Counts where the parser hands pieces over, because listening for them would begin to read the body. */
function watchSize(request: IncomingMessage, response: ServerResponse, maxBodyBytes: number): void {
  const push = request.push;
  let bytes = 0;
  request.push = function pushCounted(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    if (chunk !== null) bytes += chunk.length;
    if (bytes <= maxBodyBytes) return push.call(this, chunk, encoding);
    if (!response.headersSent) refuse(response);
    request.destroy(new Error(`the body is longer than ${maxBodyBytes} bytes`));
    return false;
  };
}

function refuse(response: ServerResponse): void {
  answerPlainly(response, 413, { connection: "close" });
}
