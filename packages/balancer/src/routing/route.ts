/**
 * Finds the route of a request, and makes of its target what the instance is to see.
 *
 * The path's normal form decides where it goes and whether it is refused. The instance gets the path as it came, since
 * signatures are made over it, but for what an app might read as a path that another route would have taken:
 *
 * - Dot segments are taken out.
 * - Several slashes at the beginning become one where a reader to whom they are empty segments, or the mark of a host, would
 *   choose another pool.
 * - An escaped slash is data to one reader and a slash to the next. The path is refused with 400 where they differ: where a
 *   reader to whom it is a slash would choose another pool (or another prefix to strip), or would find dot segments. So
 *   `/packages/@scope%2fname` passes, and `/api%2Fusers`, `/static/..%2Fapi` do not where there is a route `/api/`.
 */
import type { RequestHead } from "../http1/request-head.js";
import {
  decodeForMatch,
  normalizePath,
  PathScan,
  PathTrait,
  pathWithoutDots,
  readEscapedSlashes,
  readSlashesAtBeginning,
} from "./request-path.js";
import type { Route, Router } from "./router.js";

/** Statuses with which a request is answered that goes nowhere. */
type NoRoute = 400 | 404;

const ROOT = Buffer.from("/", "latin1");
const SLASH = 47;
const QUESTION = 63;
const STAR = 42;

/** One for the process. */
const scan = new PathScan();

/** The route of the request; its head's target becomes what the instance is to see. */
export function routeOf<Target>(router: Router<Target>, head: RequestHead): Route<Target> | NoRoute {
  const { target: bytes, targetStart, targetEnd } = head;
  if (head.hasNoPath || bytes[targetStart] === STAR) {
    // `OPTIONS *` asks a server as a whole (RFC 9110 §9.3.7): the one that has the root of that host.
    return router.only ?? matchPath(router, head, ROOT, 0, 1) ?? 404;
  }
  scan.read(bytes, targetStart, targetEnd);
  if (scan.traits !== 0) return routeUnusual(router, head);
  const route = router.only ?? matchPath(router, head, bytes, targetStart, scan.end);
  if (route === undefined) return 404;
  if (route.stripped !== undefined) strip(head, route);
  return route;
}

/** Makes of a head that was parsed again what it was for that route; `target` is what was made of it then, if it was new. */
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

/** A path with percent-encoding, or one that is not normal. */
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

/** Whether both lead to the same pool and take the same off the path. */
function isSame(one: Route<unknown> | undefined, other: Route<unknown> | undefined): boolean {
  return (
    one === other || (one?.target === other?.target && one?.stripped === undefined && other?.stripped === undefined)
  );
}

/** Takes the route's prefix off the target; what is left begins with one slash, or the writers of heads put one before it. */
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
