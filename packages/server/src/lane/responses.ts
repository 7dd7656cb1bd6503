/** Prepares the platform's Request and Response for the lane. */

import { type FieldLines, fieldLines, plainFieldLines } from "@paceline/wire/lane/response-head";
import { TAKES_FILES } from "../kinds/static/file-body.js";
import { BODY, FIELDS, rememberBodies } from "../shared/kept-body.js";
import type { ResponseBody, ResponseReader } from "./response-reader.js";
import { adoptRequests } from "./web-classes.js";

/** Called once, before the app is loaded. */
function responsesOnBun(): ResponseReader {
  rememberBodies(plainFieldLines);
  // The platform's own class: `instanceof` is slower with the replacement.
  const NativeResponse: typeof Response = Object.getPrototypeOf(Response);
  return {
    isResponse: (value): value is Response => value instanceof NativeResponse,
    fields: (response) =>
      (response as { [FIELDS]?: FieldLines })[FIELDS] ??
      fieldLines(response.headers.toJSON() as Record<string, string | string[]>),
    body(response) {
      const kept = (response as { [BODY]?: unknown })[BODY];
      if (kept === null || kept === undefined || response.bodyUsed) return response.body;
      return kept as ResponseBody;
    },
  };
}

/**
 * Prepares the platform's classes for the lane, before the app is loaded. `restore` undoes it if the app does not need it, unless the app
 * has set a class of its own, as Hono's node-server does.
 */
export async function prepareResponses(): Promise<{ responses: ResponseReader; restore(): void }> {
  const platform = current();
  adoptRequests();
  const responses =
    process.versions.bun === undefined ? (await import("./responses-node.js")).responsesOnNode() : responsesOnBun();
  Object.defineProperty(globalThis.Response, TAKES_FILES, { value: true });
  const ours = current();
  const restore = () => {
    for (const name of ["Request", "Response", "fetch"] as const) {
      if (globalThis[name] === ours[name]) Object.assign(globalThis, { [name]: platform[name] });
    }
  };
  return { responses, restore };
}

const current = () => ({ Request: globalThis.Request, Response: globalThis.Response, fetch: globalThis.fetch });
