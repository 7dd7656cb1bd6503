/** A site as a fetch handler, a Node handler, and the app of a static pool. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setFlagsFromString } from "node:v8";
import type { StaticSpec } from "@paceline/wire";
import type { App } from "../../shared/app.js";
import { FILE_BODY, TAKES_FILES } from "./file-body.js";
import { OpenFileBody } from "./open-file-body.js";
import { checkedRoot, type StaticOptions, type StaticSettings, settingsOf } from "./options.js";
import { type StaticResponse, textResponse } from "./plan.js";
import { Site } from "./site.js";

/** The signature of Express and Connect middleware. Without `next`, it is a handler of node:http. */
export type NodeMiddleware = (
  request: IncomingMessage & { originalUrl?: string },
  response: ServerResponse,
  next?: (error?: unknown) => void,
) => unknown;

export interface Handlers {
  fetch(request: Request): Response;
  node: NodeMiddleware;
}

/** Larger files are sent in blocks, so that a slow reader holds only one block. In bytes. */
const WHOLE_BYTES = 16_384;
/**
 * Bun keeps the connection only after a body in memory (see FileBody.onBun). Bytes that are sent within one turn take no memory if the
 * reader is fast.
 */
const WHOLE_BYTES_ON_BUN = 131_072;

/** @param root an absolute path */
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

/** Returns path and query of a URL, unchanged. */
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
  // A request that is not for an existing file, or not GET, may be meant for the next handler.
  if (next !== undefined && (found.status === 404 || found.status === 405)) return next();
  const { status, fields, body } = found;
  if (!(body instanceof OpenFileBody)) {
    const length = body === null ? {} : { "content-length": body.length };
    response.writeHead(status, { ...fields, ...length });
    return response.end(body ?? undefined);
  }
  response.writeHead(status, fields);
  // A rejected promise would end an app that does not await it.
  return body.pipe(response).catch((error: unknown) => {
    console.error((error as Error).message);
    const { socket } = response;
    if (typeof socket?.resetAndDestroy === "function") socket.resetAndDestroy();
    else response.destroy();
  });
};

/**
 * @param isLane whether responses go over a lane; on Node, HTTP/1.1 is cheaper without Request and Response
 * @throws ServerError `static-unusable`
 */
export function staticApp({ root, options }: StaticSpec, isLane: boolean): App {
  const isNode = process.versions.bun === undefined;
  // Few objects are created here, and most are soon garbage. Without this option, Node allocates 16 to 32 MB for them under load.
  if (isNode) setFlagsFromString("--semi-space-growth-factor=1");
  const handlers = handlersOf(checkedRoot(root), settingsOf(options as StaticOptions));
  if (isNode && !isLane) return { style: "node", handler: handlers.node };
  return { style: "fetch", handler: (request) => handlers.fetch(request) };
}
