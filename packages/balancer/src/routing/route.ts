/**
 * Finds the route of a request, and changes its target to the one that the instance gets.
 *
 * The path's normalized form decides its route and whether it is refused. The instance gets the path as sent, because signatures cover it,
 * except where an app might read it as the path of another route:
 * - Dot segments are removed.
 * - Several leading slashes become one if a reader that takes them for empty segments, or for a host, would choose another pool.
 * - Some readers treat an escaped slash as data, others as a slash. The path is refused with 400 if the latter would choose another pool
 * (or another prefix to strip), or find dot segments. So `/packages/@scope%2fname` is accepted. `/api%2Fusers` and `/static/..%2Fapi` are
 * not if there is a route `/api/`.
 */

import {
  decodeForMatch,
  normalizePath,
  PathScan,
  PathTrait,
  pathWithoutDots,
  readEscapedSlashes,
  readSlashesAtBeginning,
} from "../http1/normal-path.js";
import type { RequestHead } from "../http1/request-head.js";
import type { Route, Router } from "./router.js";

/** The response statuses of requests without a route. */
type NoRoute = 400 | 404;

const ROOT = Buffer.from("/", "latin1");
const SLASH = 47;
const QUESTION = 63;
const STAR = 42;

/** One is enough for the process. */
const scan = new PathScan();

/** Returns the route of the request and changes the head's target to the one that the instance gets. */
export function routeOf<Target>(router: Router<Target>, head: RequestHead): Route<Target> | NoRoute {
  const { target: bytes, targetStart, targetEnd } = head;
  if (head.hasNoPath || bytes[targetStart] === STAR) {
    // `OPTIONS *` addresses the server as a whole (RFC 9110 §9.3.7): it goes to the pool of the host's root.
    return router.only ?? matchPath(router, head, ROOT, 0, 1) ?? 404;
  }
  scan.read(bytes, targetStart, targetEnd);
  if (scan.traits !== 0) return routeUnusual(router, head);
  const route = router.only ?? matchPath(router, head, bytes, targetStart, scan.end);
  if (route === undefined) return 404;
  if (route.stripped !== undefined) strip(head, route);
  return route;
}

/**
 * Returns the route of a request in a separate router, such as that of a rate limit, without changing the head. If an escaped slash makes
 * the path ambiguous, the route of either reading applies.
 */
export function findRoute<Target>(router: Router<Target>, head: RequestHead): Route<Target> | undefined {
  if (router.only !== undefined) return router.only;
  const { target: bytes, targetStart, targetEnd } = head;
  if (head.hasNoPath || bytes[targetStart] === STAR) return matchPath(router, head, ROOT, 0, 1);
  scan.read(bytes, targetStart, targetEnd);
  if (scan.traits === 0) return matchPath(router, head, bytes, targetStart, scan.end);
  if ((scan.traits & PathTrait.REFUSED) !== 0) return undefined;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + targetStart, scan.end - targetStart).toString("latin1");
  const path = normalizePath(text);
  if (path === undefined) return undefined;
  const readings = [path, ...((scan.traits & PathTrait.ESCAPED_SLASH) === 0 ? [] : [readEscapedSlashes(path) ?? path])];
  for (const reading of readings) {
    const decoded = Buffer.from(decodeForMatch(reading), "latin1");
    const route = matchPath(router, head, decoded, 0, decoded.length);
    if (route !== undefined) return route;
  }
  return undefined;
}

/**
 * Changes a head that was parsed again as its route requires.
 * @param target the target that replaces the client's, if any
 */
export function retarget(head: RequestHead, route: Route<unknown>, target: Uint8Array | undefined): void {
  if (target !== undefined) head.retarget(target);
  if (route.stripped !== undefined) strip(head, route);
}

function matchPath<Target>(
  router: Router<Target>,
  { bytes, hostStart, hostEnd }: RequestHead,
  path: Uint8Array,
  start: number,
  end: number,
): Route<Target> | undefined {
  return router.match(bytes, hostStart, hostEnd, path, start, end);
}

/** Routes a path that has escapes or is not normalized. */
function routeUnusual<Target>(router: Router<Target>, head: RequestHead): Route<Target> | NoRoute {
  const { traits, end } = scan;
  if ((traits & PathTrait.REFUSED) !== 0) return 400;
  const { target: bytes, targetStart, targetEnd } = head;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + targetStart, targetEnd - targetStart);
  const cameAs = text.toString("latin1", 0, end - targetStart);
  const path = (traits & PathTrait.UNNORMAL) === 0 ? cameAs : normalizePath(cameAs);
  if (path === undefined) return 400;
  const find = (readAs: string) => {
    const decoded = Buffer.from(decodeForMatch(readAs), "latin1");
    return router.only ?? matchPath(router, head, decoded, 0, decoded.length);
  };
  const route = find(path);
  if ((traits & PathTrait.ESCAPED_SLASH) !== 0) {
    const read = readEscapedSlashes(path);
    if (read === undefined || !isSame(route, find(read))) return 400;
  }
  if (route === undefined) return 404;
  let shown = path === cameAs ? path : pathWithoutDots(cameAs);
  if (shown.startsWith("//") && !readSlashesAtBeginning(path).every((read) => isSame(route, find(read)))) {
    shown = shown.replace(/^\/+/, "/");
  }
  if (shown !== cameAs) head.retarget(Buffer.from(shown + text.toString("latin1", end - targetStart), "latin1"));
  if (route.stripped !== undefined) strip(head, route);
  return route;
}

/** Whether both routes lead to the same pool and strip the same prefix. */
function isSame(one: Route<unknown> | undefined, other: Route<unknown> | undefined): boolean {
  return (
    one === other || (one?.target === other?.target && one?.stripped === undefined && other?.stripped === undefined)
  );
}

/** Removes the route's prefix from the target. The rest begins with one slash, or the head writers prepend one. */
function strip(head: RequestHead, route: Route<unknown>): void {
  const { target, targetEnd } = head;
  let at = head.targetStart;
  for (let segments = route.segments; segments > 0; segments--) {
    at++;
    while (at < targetEnd && target[at] !== SLASH && target[at] !== QUESTION) at++;
  }
  while (at + 1 < targetEnd && target[at] === SLASH && target[at + 1] === SLASH) at++;
  head.targetStart = at;
  head.prefix = route.stripped;
}
