/** Takes answers apart on Bun, whose Response is native and cheap: all that is missing is the body it was made with. */
import { KEPT_BODY, type KeptBody } from "../api/kept-body.js";
import { fieldLines } from "./field-lines.js";
import { acceptAll } from "./instance-of.js";
import type { AnswerBody, AnswerReader } from "./responses.js";

const BODY = Symbol("body");

function isBlocks(body: unknown): boolean {
  if (typeof body !== "object" || body === null || body instanceof ReadableStream) return false;
  return Symbol.asyncIterator in body && !(body instanceof Blob);
}

/** Called once, before the app is loaded. */
export function answersOnBun(): AnswerReader {
  // Not looked at before: on Node, which loads this file too, a look would load 5 MB.
  const NativeResponse = globalThis.Response;

  /** A Response that remembers a body that is there already, since the platform gives it back only as a stream. */
  class KeptResponse extends NativeResponse {
    [BODY]: unknown = null;

    constructor(body?: unknown, init?: ResponseInit) {
      super(body as never, init);
      if (typeof body === "string" || body instanceof Blob) this[BODY] = body;
      // The bytes are those of now: the app may use its buffer again before they leave.
      else if (body instanceof Uint8Array) this[BODY] = new Uint8Array(body);
      else if (typeof body === "number" || typeof body === "boolean" || typeof body === "bigint")
        this[BODY] = `${body}`;
      // Bun's stream of it would ask for block after block, until it has a good deal, and leave nobody else a turn meanwhile.
      else if (isBlocks(body)) this[BODY] = body;
    }

    [KEPT_BODY](): KeptBody | undefined {
      return this.bodyUsed || isBlocks(this[BODY]) ? undefined : ((this[BODY] as KeptBody | null) ?? undefined);
    }

    override clone(): Response {
      const clone = super.clone() as KeptResponse;
      // Not needed to send it, but to know that it is text. Blocks can be taken once: both have Bun's stream of them.
      if (isBlocks(this[BODY])) this[BODY] = null;
      clone[BODY] = this[BODY];
      return clone;
    }

    static override json(value: unknown, init?: ResponseInit): Response {
      const { status, statusText, headers } = NativeResponse.json(value as never, init);
      return new KeptResponse(JSON.stringify(value), { status, statusText, headers });
    }
  }

  acceptAll(KeptResponse, NativeResponse);
  globalThis.Response = KeptResponse as never;
  return {
    isAnswer: (value): value is Response => value instanceof NativeResponse,
    fields: (response) => fieldLines(response.headers.toJSON() as Record<string, string | string[]>),
    body(response) {
      const kept = (response as { [BODY]?: unknown })[BODY];
      if (kept === null || kept === undefined || response.bodyUsed) return response.body;
      return kept as AnswerBody;
    },
  };
}
