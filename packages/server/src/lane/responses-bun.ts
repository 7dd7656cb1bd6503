/** Takes responses apart on Bun, whose Response is native and cheap: all that is missing is the body it was made with. */

import { fieldLines } from "@paceline/wire/lane/response-head";
import { BODY, rememberBodies } from "../shared/kept-body.js";
import type { ResponseBody, ResponseReader } from "./response-reader.js";

/** Called once, before the app is loaded. */
export function responsesOnBun(): ResponseReader {
  rememberBodies();
  // The platform's own class: `instanceof` the one that stands for it costs more.
  const NativeResponse: typeof Response = Object.getPrototypeOf(Response);
  return {
    isResponse: (value): value is Response => value instanceof NativeResponse,
    fields: (response) => fieldLines(response.headers.toJSON() as Record<string, string | string[]>),
    body(response) {
      const kept = (response as { [BODY]?: unknown })[BODY];
      if (kept === null || kept === undefined || response.bodyUsed) return response.body;
      return kept as ResponseBody;
    },
  };
}
