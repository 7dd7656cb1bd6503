/** Takes answers apart on Bun, whose Response is native and cheap: all that is missing is the body it was made with. */
import type { AnswerBody, AnswerReader } from "./answers.js";
import { fieldLines } from "./field-lines.js";
import { acceptAll } from "./instance-of.js";

const BODY = Symbol("body");
const NativeResponse = globalThis.Response;

/** A Response that remembers a body that is there already, since the platform gives it back only as a stream. */
class KeptResponse extends NativeResponse {
  [BODY]: unknown = null;

  constructor(body?: unknown, init?: ResponseInit) {
    super(body as never, init);
    if (typeof body === "string" || body instanceof Uint8Array || body instanceof Blob) this[BODY] = body;
  }

  static override json(value: unknown, init?: ResponseInit): Response {
    const { status, statusText, headers } = NativeResponse.json(value as never, init);
    return new KeptResponse(JSON.stringify(value), { status, statusText, headers });
  }
}

/** Called once, before the app is loaded. */
export function answersOnBun(): AnswerReader {
  acceptAll(KeptResponse, NativeResponse);
  globalThis.Response = KeptResponse as never;
  return {
    isAnswer: (value): value is Response => value instanceof NativeResponse,
    fields: (response) => fieldLines(response.headers.toJSON() as Record<string, string | string[]>),
    body(response) {
      const kept = (response as KeptResponse)[BODY];
      return kept === null || kept === undefined || response.bodyUsed ? response.body : (kept as AnswerBody);
    },
  };
}
