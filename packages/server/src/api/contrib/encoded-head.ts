/** Makes the heads of responses whose bodies are encoded, or could have been. */
import type { Coding } from "./codings.js";
import { varyWithEncoding, weakTag } from "./compressible.js";

/** What a response is beside its body. */
export interface Head {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
}

/** The head as it is, on its own. */
export function headOf({ status, statusText, headers }: Response): Head {
  return { status, statusText, headers: new Headers(headers) };
}

/** The response with its body in a coding. `type` is its Content-Type where the headers do not say it. */
export function encodedResponse(
  { status, statusText, headers }: Head,
  body: Uint8Array | ReadableStream<Uint8Array>,
  coding: Coding,
  type: string,
): Response {
  headers.set("content-encoding", coding);
  if (!headers.has("content-type")) headers.set("content-type", type);
  // The length, and ranges, are those of what is not encoded.
  headers.delete("content-length");
  headers.delete("accept-ranges");
  const etag = headers.get("etag");
  if (etag !== null) headers.set("etag", weakTag(etag));
  addVary(headers);
  return new Response(body as never, { status, statusText, headers });
}

/** A response that could have been encoded, as it is. */
export function plainResponse(response: Response): Response {
  try {
    addVary(response.headers);
    return response;
  } catch {
    // The response of a fetch() has headers that cannot be changed.
    const head = headOf(response);
    addVary(head.headers);
    return new Response(response.body, head);
  }
}

function addVary(headers: Headers): void {
  const vary = varyWithEncoding(headers.get("vary"));
  if (vary !== undefined) headers.set("vary", vary);
}
