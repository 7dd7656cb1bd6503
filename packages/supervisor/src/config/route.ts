/** Parses routes: an optional host, then a path prefix. Reports routes that can never match, or that match more than they seem to. */

/** The maximum length of a route. It limits the prefix that is removed from a path, which has to fit into a head. */
const MAX_CHARACTERS = 1024;

const LABEL = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?";
const HOST = new RegExp(`^(\\*\\.)?${LABEL}(\\.${LABEL})*$`);

/** A route in the balancers' form, or its problem. */
type ReadRoute = { route: string } | { problem: string };

export function readRoute(text: string): ReadRoute {
  const shown = JSON.stringify(text);
  const slash = text.indexOf("/");
  if (slash < 0) {
    return { problem: `must be a path, or a host and a path, such as "/api/" or "example.com/", not ${shown}` };
  }
  const path = encodeNonAscii(text.slice(slash));
  if (slash + path.length > MAX_CHARACTERS) return { problem: `is longer than ${MAX_CHARACTERS} characters` };
  if (/^[a-z+]+:\/\//i.test(text))
    return { problem: `must have no scheme; write a host and a path, such as "example.com/", not ${shown}` };
  const host = readHost(text.slice(0, slash));
  if ("problem" in host) return host;
  const problem = whatIsWrongWith(path);
  return problem === undefined ? { route: host.host + normalEscapes(path) } : { problem: `${problem}: ${shown}` };
}

function readHost(text: string): { host: string } | { problem: string } {
  const shown = JSON.stringify(text);
  const host = text.toLowerCase();
  if (host.startsWith("[")) {
    if (/:\d*$/.test(host) && !host.endsWith("]"))
      return { problem: `the host of a route must not have a port: ${shown}` };
    if (!URL.canParse(`http://${host}`)) return { problem: `${shown} is not an IPv6 address in brackets` };
    // The canonical form, to which the balancer also converts a request's host.
    return { host: new URL(`http://${host}`).hostname };
  }
  if (host.includes(":")) return { problem: `the host of a route must not have a port: ${shown}` };
  if (host === "" || HOST.test(host.replace(/\.$/, ""))) return { host: host.replace(/\.$/, "") };
  return { problem: `the host of a route is a name, or "*." and a name, not ${shown}` };
}

/** Returns why a path cannot be a route; any valid escape is allowed. */
function whatIsWrongWith(path: string): string | undefined {
  if (/[?#]/.test(path)) return "a route matches only the path and must not contain ? or #";
  if (path.includes("*")) return "a path is a prefix and must not contain *";
  // Only characters that a request path can contain are allowed. A route with others would never match.
  const leftover = /[^A-Za-z0-9\-._~!$&'()+,;=:@%/]/.exec(path);
  if (leftover !== null) return `a path must percent-encode ${JSON.stringify(leftover[0])}`;
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return "a % must be followed by two hexadecimal digits";
  if (/%(00|2f|5c)/i.test(path)) return "a route cannot have %00, %2F or %5C";
  if (path.includes("//")) return "a route cannot have an empty segment";
  if (
    normalEscapes(path)
      .split("/")
      .some((segment) => segment === "." || segment === "..")
  ) {
    return 'a route cannot have the segments "." and ".."';
  }
  return undefined;
}

/** Encodes non-ASCII characters as browsers do: as percent-encoded UTF-8. */
function encodeNonAscii(path: string): string {
  return path.replace(/\P{ASCII}+/gu, (text) =>
    Buffer.from(text, "utf8").toString("hex").toUpperCase().replace(/../g, "%$&"),
  );
}

/** Decodes unreserved characters, and writes all other escapes in upper case (RFC 3986 §6.2.2). */
function normalEscapes(path: string): string {
  return path.replace(/%(..)/g, (escaped, digits: string) => {
    const character = String.fromCharCode(Number.parseInt(digits, 16));
    return /[A-Za-z0-9\-._~]/.test(character) ? character : escaped.toUpperCase();
  });
}

/** Returns a key that is equal for routes that match the same requests, for example `/api` and `/api/`, or `/%40x` and `/@x`. */
export function routeKey(route: string): string {
  const slash = route.indexOf("/");
  const path = route
    .slice(slash)
    .replace(/%(..)/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  return route.slice(0, slash) + path.replace(/(?<=.)\/$/, "");
}
