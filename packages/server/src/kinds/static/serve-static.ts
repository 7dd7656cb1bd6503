/** Serves a folder of files, for apps: a fetch handler, and a Node handler beside it. */
import { fileURLToPath } from "node:url";
import type { Handlers, NodeMiddleware } from "./handlers.js";
import { checkedRoot, type StaticOptions, settingsOf } from "./options.js";

/** A fetch handler that responds to every request; what is not there is a 404. */
export interface StaticHandler {
  (request: Request): Response | Promise<Response>;
  /** For node:http, Express and Connect. With `next`, what is not there is left to it. */
  node: NodeMiddleware;
}

/**
 * Serves the files of a folder.
 *
 * @param root the folder; a relative path is taken from the working directory.
 * @throws ServerError `static-unusable` when there is no such folder.
 */
export function serveStatic(root: string | URL, options: StaticOptions = {}): StaticHandler {
  const path = checkedRoot(root instanceof URL ? fileURLToPath(root) : root);
  const settings = settingsOf(options);
  let handlers: Handlers | undefined;
  // Loaded with the first request: an app that only might serve files does not pay for it.
  const load = async () => {
    handlers ??= (await import("./handlers.js")).handlersOf(path, settings);
    return handlers;
  };
  const fetch = (request: Request) =>
    handlers === undefined ? load().then((loaded) => loaded.fetch(request)) : handlers.fetch(request);
  const node: NodeMiddleware = (request, response, next) =>
    handlers === undefined
      ? load().then((loaded) => loaded.node(request, response, next))
      : handlers.node(request, response, next);
  return Object.assign(fetch, { node });
}
