/** Sets a platform's Request and Response up for the lane. */
import { TAKES_FILES } from "../kinds/static/file-body.js";
import type { ResponseReader } from "./response-reader.js";
import { responsesOnBun } from "./responses-bun.js";
import { adoptRequests } from "./web-classes.js";

/**
 * Sets the platform's classes up for the lane, before the app is loaded. `restore` undoes it, for an app that turns out
 * to need none of it.
 */
export async function prepareResponses(): Promise<{ responses: ResponseReader; restore(): void }> {
  const { Request, Response, fetch } = globalThis;
  adoptRequests();
  const responses =
    process.versions.bun === undefined ? (await import("./responses-node.js")).responsesOnNode() : responsesOnBun();
  Object.defineProperty(globalThis.Response, TAKES_FILES, { value: true });
  return { responses, restore: () => Object.assign(globalThis, { Request, Response, fetch }) };
}
