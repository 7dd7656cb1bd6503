/** A site as a fetch handler, as a Node handler, and as the app of a static pool. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setFlagsFromString } from "node:v8";
import type { StaticSpec } from "@paceline/wire";
import type { App } from "../../shared/app.js";
import { FILE_BODY, TAKES_FILES } from "./file-body.js";
import { OpenFileBody } from "./open-file-body.js";
import { checkedRoot, type StaticOptions, type StaticSettings, settingsOf } from "./options.js";
import { type StaticResponse, textResponse } from "./plan.js";
import { Site } from "./site.js";

/** As Express and Connect call a middleware; alone it is a handler of node:http. */
export type NodeMiddleware = (
  request: IncomingMessage & { originalUrl?: string },
  response: ServerResponse,
  next?: (error?: unknown) => void,
) => unknown;

export interface Handlers {
  fetch(request: Request): Response;
  node: NodeMiddleware;
}

/** Larger files leave block by block, so that a slow reader of one holds no more than a block. */
const WHOLE_BYTES = 16_384;
/**
 * Bun sends only a body in memory and keeps the connection, see FileBody.onBun; and what is sent on one turn costs no
 * memory whose reader is quick.
 */
const WHOLE_BYTES_ON_BUN = 131_072;

/** @param root an absolute path. */
export function handlersOf(root: string, settings: StaticSettings): Handlers {
  const isBunAlone = process.versions.bun !== undefined && !(TAKES_FILES in Response);
  const site = new Site(root, settings, isBunAlone ? WHOLE_BYTES_ON_BUN : WHOLE_BYTES);
  return { fetch: (request) => respondFetch(site, request), node: (...args) => respondNode(site, ...args) };
}

function respondFetch(site: Site, request: Request): Response {
  const { method, headers } = request;
  const { status, fields, body } = site.respond({
    method,
    target: targetOf(request.url),
    field: (name) => headers.get(name),
  });
  if (!(body instanceof OpenFileBody)) return new Response(body as never, { status, headers: fields });
  const response = new Response(body.stream(), { status, headers: fields });
  Object.defineProperty(response, FILE_BODY, { value: body });
  return response;
}

/** The path and the query of a URL as they are in it. */
function targetOf(url: string): string {
  const at = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
  return at < 0 ? "/" : url.slice(at);
}

const respondNode = (site: Site, ...[request, response, next]: Parameters<NodeMiddleware>): unknown => {
  const { method = "GET", url = "/", originalUrl, headers } = request;
  let found: StaticResponse;
  try {
    found = site.respond({
      method,
      target: url,
      ...(originalUrl === undefined ? {} : { originalTarget: originalUrl }),
      field: (name) => headers[name] as string | undefined,
    });
  } catch (error) {
    if (next !== undefined) return next(error);
    console.error(error);
    found = textResponse(500);
  }
  // What is not here, or not asked for with GET, may be somebody else's.
  if (next !== undefined && (found.status === 404 || found.status === 405)) return next();
  const { status, fields, body } = found;
  if (!(body instanceof OpenFileBody)) {
    const length = body === null ? {} : { "content-length": body.length };
    response.writeHead(status, { ...fields, ...length });
    return response.end(body ?? undefined);
  }
  response.writeHead(status, fields);
  // A promise that rejects would end an app which does not wait for it.
  return body.pipe(response).catch((error: unknown) => {
    console.error((error as Error).message);
    const { socket } = response;
    if (typeof socket?.resetAndDestroy === "function") socket.resetAndDestroy();
    else response.destroy();
  });
};

/**
 * @param isLane whether its responses go over a lane; Node serves HTTP/1.1 for less without a Request and a Response.
 * @throws ServerError `static-unusable`
 */
export function staticApp({ root, options }: StaticSpec, isLane: boolean): App {
  const isNode = process.versions.bun === undefined;
  // New objects are few here and most die at once. Without this Node takes 16 to 32 MB for them as soon as it has much to do.
  if (isNode) setFlagsFromString("--semi-space-growth-factor=1");
  const handlers = handlersOf(checkedRoot(root), settingsOf(options as StaticOptions));
  if (isNode && !isLane) return { style: "node", handler: handlers.node };
  return { style: "fetch", handler: (request) => handlers.fetch(request) };
}
