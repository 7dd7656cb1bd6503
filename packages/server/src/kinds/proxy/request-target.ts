/** Makes the target that the upstream is asked for. */

const DOT_SEGMENT = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?:[/\\]|%2f|%5c|$)/i;
/** What a request line can hold. */
const WRITABLE = /^[\x21-\x7e\x80-\xff]+$/;

/**
 * The path of an upstream with `basePath`, for the target that was asked for; undefined where there is none. A path with
 * segments `.` or `..` has none, however they are written, lest it leave the base path: a balancer resolves them.
 */
export function upstreamTarget(target: string, method: string | undefined, basePath: string): string | undefined {
  if (target === "*") return method === "OPTIONS" ? target : undefined;
  const path = target.startsWith("/") ? target : originForm(target);
  if (path === undefined || !WRITABLE.test(path)) return undefined;
  const end = path.indexOf("?");
  return DOT_SEGMENT.test(end === -1 ? path : path.slice(0, end)) ? undefined : basePath + path;
}

/** What a client that takes us for its proxy means (RFC 9112 §3.2.2). */
function originForm(target: string): string | undefined {
  const rest = /^https?:\/\/[^/?#]+([/?].*)?$/i.exec(target);
  if (rest === null) return undefined;
  const path = rest[1] ?? "/";
  return path.startsWith("/") ? path : `/${path}`;
}
