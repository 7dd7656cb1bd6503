/** Makes of a Location on the upstream one that leads the client through us again. */

export interface Passage {
  upstream: URL;
  /** Of the upstream; without a slash at the end. */
  basePath: string;
  /** What was taken off the path that the client asked for; without a slash at the end. */
  prefix: string;
  /** What the client speaks: `http` or `https`. */
  clientProtocol: string;
}

/**
 * A path, so that it holds for whatever host and port the client knows us by; `location` itself where it leads elsewhere,
 * or to what the client cannot reach through us.
 *
 * A Location counts as the upstream's in its own scheme, and in the client's, which it may have been told of. Another one
 * does not: an upstream that sends us from http to https would send us in circles.
 */
export function rewriteLocation(location: string, { upstream, basePath, prefix, clientProtocol }: Passage): string {
  const isAbsolute = /^(?:https?:)?\/\//i.test(location);
  if (!isAbsolute && !location.startsWith("/")) return location;
  if (!isAbsolute && basePath === "" && prefix === "") return location;
  if (!URL.canParse(location, upstream.href)) return location;
  const url = new URL(location, upstream);
  if (isAbsolute && !isSameServer(url, upstream, clientProtocol)) return location;
  const inside = without(url.pathname, basePath);
  if (inside === undefined) return location;
  // An upstream that was told its prefix may have put it there itself.
  const isDone = prefix !== "" && without(url.pathname, prefix) !== undefined;
  const path = isDone ? url.pathname : prefix + inside;
  // Two slashes at the beginning would name a host.
  return `${path.startsWith("//") ? "/." : ""}${path}${url.search}${url.hash}`;
}

function isSameServer(url: URL, upstream: URL, clientProtocol: string): boolean {
  if (url.origin === upstream.origin) return true;
  return url.protocol === `${clientProtocol}:` && url.hostname === upstream.hostname && url.port === upstream.port;
}

/** A path without what it begins with, on a segment's boundary; undefined where it begins with something else. */
function without(path: string, start: string): string | undefined {
  if (!path.startsWith(start)) return undefined;
  const rest = path.slice(start.length);
  return rest === "" ? "/" : rest.startsWith("/") ? rest : undefined;
}
