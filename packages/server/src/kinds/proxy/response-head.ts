/** Checks the head of an upstream's response and builds the fields for the client. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { REASONS } from "@paceline/wire/reasons";
import { hopByHop } from "./request-head.js";
import type { ProxySettings } from "./settings.js";

const UNWRITABLE = /[^\t\x20-\x7e\x80-\xff]/;

/** Returns why a response cannot be forwarded; undefined if it can. Node throws on some invalid heads, and nothing would catch the error. */
export function problemOf({ statusCode = 0, headers }: IncomingMessage): string | undefined {
  if (statusCode < 200 || statusCode > 599) return `it responded with the status ${statusCode}`;
  const coding = headers["transfer-encoding"];
  if (coding !== undefined && coding.trim().toLowerCase() !== "chunked")
    return `it responded with Transfer-Encoding: ${coding.slice(0, 60)}`;
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    if (UNWRITABLE.test(Array.isArray(value) ? value.join() : (value ?? ""))) return `its field ${name} is malformed`;
  }
  return undefined;
}

/** Returns the reason phrase; the standard one if it is missing or cannot be written. */
export function reasonOf({ statusCode = 0, statusMessage = "" }: IncomingMessage): string {
  return statusMessage === "" || UNWRITABLE.test(statusMessage) ? (REASONS[statusCode] ?? "") : statusMessage;
}

/** Returns the response's fields without hop-by-hop ones; the writer adds the framing. */
export function clientFields(
  response: IncomingMessage,
  request: IncomingMessage,
  settings: ProxySettings,
): IncomingHttpHeaders {
  const { headers, statusCode } = response;
  const staysBehind = hopByHop(headers.connection);
  const fields: IncomingHttpHeaders = {};
  for (const name of Object.keys(headers)) if (!staysBehind(name)) fields[name] = headers[name];
  // A 426 names the accepted protocols (RFC 9110 §15.5.22).
  if (statusCode === 426 && headers.upgrade !== undefined) fields.upgrade = headers.upgrade;
  // Content-Length must be ignored if there is chunked (RFC 9112 §6.3), and a 204 has no content.
  if (headers["transfer-encoding"] !== undefined || statusCode === 204) delete fields["content-length"];
  if (settings.autoRewrite && fields.location !== undefined)
    fields.location = rewriteLocation(fields.location, passageOf(request, settings));
  return fields;
}

/** @param headers the fields sent to the upstream */
function passageOf({ headers }: IncomingMessage, { url, basePath }: ProxySettings): Passage {
  return {
    upstream: url,
    basePath,
    prefix: `${headers["x-forwarded-prefix"] ?? ""}`,
    clientProtocol: `${headers["x-forwarded-proto"] ?? "http"}`,
  };
}

/** What is needed to rewrite the upstream's Location so that the client comes through this proxy again. */
interface Passage {
  upstream: URL;
  /** The upstream's base path, without a trailing slash. */
  basePath: string;
  /** The prefix removed from the client's path, without a trailing slash. */
  prefix: string;
  /** The client's protocol: `http` or `https`. */
  clientProtocol: string;
}

/**
 * Returns a path, which is valid for any host and port of this proxy; or `location` itself if it leads elsewhere, or cannot be reached
 * through the proxy.
 *
 * A Location belongs to the upstream if its scheme is the upstream's or the client's, which the upstream may know. A redirect of the
 * upstream from http to https is not changed: a rewritten one would cause a loop.
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
  // An upstream that knows its prefix may have added it already.
  const isDone = prefix !== "" && without(url.pathname, prefix) !== undefined;
  const path = isDone ? url.pathname : prefix + inside;
  // Two leading slashes would name a host.
  return `${path.startsWith("//") ? "/." : ""}${path}${url.search}${url.hash}`;
}

function isSameServer(url: URL, upstream: URL, clientProtocol: string): boolean {
  if (url.origin === upstream.origin) return true;
  return url.protocol === `${clientProtocol}:` && url.hostname === upstream.hostname && url.port === upstream.port;
}

/** Removes a prefix from a path at a segment boundary; undefined if it does not match. */
function without(path: string, start: string): string | undefined {
  if (!path.startsWith(start)) return undefined;
  const rest = path.slice(start.length);
  return rest === "" ? "/" : rest.startsWith("/") ? rest : undefined;
}
