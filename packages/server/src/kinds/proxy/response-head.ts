/** Checks the head of an upstream's response, and makes the fields that the client gets of it. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { REASONS } from "@paceline/wire/reasons";
import { hopByHop } from "./request-head.js";
import type { ProxySettings } from "./settings.js";

const UNWRITABLE = /[^\t\x20-\x7e\x80-\xff]/;

/** Why a response cannot be passed on; undefined for most. Node throws at some of these, and nobody would catch it. */
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

/** The reason of a status line; where there is none, or none that can be written, the usual one. */
export function reasonOf({ statusCode = 0, statusMessage = "" }: IncomingMessage): string {
  return statusMessage === "" || UNWRITABLE.test(statusMessage) ? (REASONS[statusCode] ?? "") : statusMessage;
}

/** The response's fields without those of its connection; framing is made anew by whoever writes them. */
export function clientFields(
  response: IncomingMessage,
  request: IncomingMessage,
  settings: ProxySettings,
): IncomingHttpHeaders {
  const { headers, statusCode } = response;
  const staysBehind = hopByHop(headers.connection);
  const fields: IncomingHttpHeaders = {};
  for (const name of Object.keys(headers)) if (!staysBehind(name)) fields[name] = headers[name];
  // It says with it what it would take (RFC 9110 §15.5.22).
  if (statusCode === 426 && headers.upgrade !== undefined) fields.upgrade = headers.upgrade;
  // Content-Length beside chunks is not to be believed (RFC 9112 §6.3), and 204 has no content.
  if (headers["transfer-encoding"] !== undefined || statusCode === 204) delete fields["content-length"];
  if (settings.autoRewrite && fields.location !== undefined)
    fields.location = rewriteLocation(fields.location, passageOf(request, settings));
  return fields;
}

/** @param request with the fields that the upstream got. */
function passageOf({ headers }: IncomingMessage, { url, basePath }: ProxySettings): Passage {
  return {
    upstream: url,
    basePath,
    prefix: `${headers["x-forwarded-prefix"] ?? ""}`,
    clientProtocol: `${headers["x-forwarded-proto"] ?? "http"}`,
  };
}

/** Makes of a Location on the upstream one that leads the client through us again. */
interface Passage {
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
