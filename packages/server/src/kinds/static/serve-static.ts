/** Serves a folder for apps: as a fetch handler and as a Node handler. */
import { fileURLToPath } from "node:url";
import type { Handlers, NodeMiddleware } from "./handlers.js";
import { checkedRoot, type StaticOptions, settingsOf } from "./options.js";

/** A fetch handler that responds to every request, with 404 if nothing is found. */
export interface StaticHandler {
  (request: Request): Response | Promise<Response>;
  /**
   * For node:http, Express and Connect. Calls `next`, if given, when nothing is found or the method is not GET or HEAD, and with an
   * error that occurs before the response.
   */
  node: NodeMiddleware;
}

/**
 * Serves the files of a folder.
 * @param root the folder; a relative path starts from the working directory
 * @throws ServerError `static-unusable` if there is no such folder
 */
export function serveStatic(root: string | URL, options: StaticOptions = {}): StaticHandler {
  const path = checkedRoot(root instanceof URL ? fileURLToPath(root) : root);
  const settings = settingsOf(options);
  let handlers: Handlers | undefined;
  // Loaded by the first request, so that it costs nothing in an app that serves no files.
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
