/** The head of a request to the upstream: its target, its fields, and which fields are hop-by-hop. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { clientFieldRule, HOP_BY_HOP_FIELDS } from "@paceline/wire";

const HOP_BY_HOP: ReadonlySet<string> = new Set(HOP_BY_HOP_FIELDS);

/** The Connection field cannot remove these fields, because the message would become a different one. */
const ESSENTIAL: ReadonlySet<string> = new Set(["content-length", "host"]);

const NO_NAMES: ReadonlySet<string> = new Set();

/** Returns a function that returns whether a lower-case name is hop-by-hop, for a message with this Connection field. */
export function hopByHop(connection: string | undefined): (name: string) => boolean {
  const named = connection === undefined ? NO_NAMES : namesIn(connection);
  return (name) => HOP_BY_HOP.has(name) || (named.has(name) && !ESSENTIAL.has(name));
}

function namesIn(connection: string): ReadonlySet<string> {
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}

/**
 * Returns the fields for the upstream. The client's own values for client fields are never used.
 * @param isBehindBalancer whether the balancer has set the client fields, which only it can, because the instance's socket has mode 0600.
 * If not, they are set here
 */
export function upstreamFields(request: IncomingMessage, isBehindBalancer: boolean): IncomingHttpHeaders {
  const { headers } = request;
  const staysBehind = hopByHop(headers.connection);
  const fields: IncomingHttpHeaders = {};
  for (const name of Object.keys(headers)) {
    // 100 Continue was already handled.
    if (name === "expect" || staysBehind(name)) continue;
    const rule = clientFieldRule(name);
    if (rule === "never" || (rule !== undefined && !isBehindBalancer)) continue;
    fields[name] = headers[name];
  }
  if (headers["transfer-encoding"] !== undefined) {
    fields["transfer-encoding"] = "chunked";
    delete fields["content-length"];
  }
  if (!isBehindBalancer) addForwarded(fields, request);
  return fields;
}

/** The same for an upgrade request, which has no body. */
export function upgradeFields(request: IncomingMessage, isBehindBalancer: boolean): IncomingHttpHeaders {
  const fields = upstreamFields(request, isBehindBalancer);
  delete fields["content-length"];
  fields.connection = "upgrade";
  fields.upgrade = request.headers.upgrade;
  return fields;
}

/** Returns whether a body's transfer coding is absent or only chunked, which is decoded and encoded again. */
export function hasKnownCoding({ headers }: IncomingMessage): boolean {
  const coding = headers["transfer-encoding"];
  return coding === undefined || coding.trim().toLowerCase() === "chunked";
}

function addForwarded(fields: IncomingHttpHeaders, { socket, headers }: IncomingMessage): void {
  // A dual-stack socket shows an IPv4 client as ::ffff:1.2.3.4. A unix socket has no address.
  const address = socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/i, "") ?? "unknown";
  fields["x-forwarded-for"] = address;
  fields["x-forwarded-proto"] = "http";
  if (headers.host !== undefined) fields["x-forwarded-host"] = headers.host;
  // RFC 7239 §6.
  fields.forwarded = `for=${address.includes(":") ? `"[${address}]"` : address};proto=http`;
}

/** A segment `.` or `..`, in any encoding. */
const DOT_SEGMENT = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?:[/\\]|%2f|%5c|$)/i;
/** The characters allowed in a request line. */
const WRITABLE = /^[\x21-\x7e\x80-\xff]+$/;

/**
 * Returns the upstream path with `basePath`; undefined if the target is invalid. Refuses the segments `.` and `..` in any encoding, because
 * they could leave the base path. Balancers resolve them before.
 */
export function upstreamTarget(target: string, method: string | undefined, basePath: string): string | undefined {
  if (target === "*") return method === "OPTIONS" ? target : undefined;
  const path = target.startsWith("/") ? target : originForm(target);
  if (path === undefined || !WRITABLE.test(path)) return undefined;
  const end = path.indexOf("?");
  return DOT_SEGMENT.test(end === -1 ? path : path.slice(0, end)) ? undefined : basePath + path;
}

/** Returns the origin form of an absolute target (RFC 9112 §3.2.2). */
function originForm(target: string): string | undefined {
  const rest = /^https?:\/\/[^/?#]+([/?].*)?$/i.exec(target);
  if (rest === null) return undefined;
  const path = rest[1] ?? "/";
  return path.startsWith("/") ? path : `/${path}`;
}
