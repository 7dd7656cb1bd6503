/** Prepares the platform's Request and Response for the lane. */

import { TAKES_FILES } from "../kinds/static/file-body.js";
import type { ResponseReader } from "./response-reader.js";
import { adoptRequests } from "./web-classes.js";

/**
 * Prepares the platform's classes for the lane, before the app is loaded. `restore` undoes that, for an app that does not need it. It keeps
 * a class that the app itself has set, as Hono's node-server does.
 */
export async function prepareResponses(): Promise<{ responses: ResponseReader; restore(): void }> {
  const platform = current();
  adoptRequests();
  const responses =
    process.versions.bun === undefined
      ? (await import("./responses-node.js")).responsesOnNode()
      : (await import("./responses-bun.js")).responsesOnBun();
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
