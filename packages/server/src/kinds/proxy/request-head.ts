/** The head of a request as the upstream gets it: its target, and the fields that pass; which fields stay behind at a proxy. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { clientFieldRule, HOP_BY_HOP_FIELDS } from "@paceline/wire";

const HOP_BY_HOP: ReadonlySet<string> = new Set(HOP_BY_HOP_FIELDS);

/** What a message's Connection field cannot unmake: without these it would be another message. */
const ESSENTIAL: ReadonlySet<string> = new Set(["content-length", "host"]);

const NO_NAMES: ReadonlySet<string> = new Set();

/** Tells of lower-case names whether they stay behind, for a message with this Connection field. */
export function hopByHop(connection: string | undefined): (name: string) => boolean {
  const named = connection === undefined ? NO_NAMES : namesIn(connection);
  return (name) => HOP_BY_HOP.has(name) || (named.has(name) && !ESSENTIAL.has(name));
}

function namesIn(connection: string): ReadonlySet<string> {
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}

/**
 * @param isBehindBalancer whether the balancer has said who the client is, and nobody else can speak on the instance's socket, whose
 *   mode is 0600; else that is said here. In either case nothing of it is the client's own word.
 */
export function upstreamFields(request: IncomingMessage, isBehindBalancer: boolean): IncomingHttpHeaders {
  const { headers } = request;
  const staysBehind = hopByHop(headers.connection);
  const fields: IncomingHttpHeaders = {};
  for (const name of Object.keys(headers)) {
    // A 100 (Continue) has been given already.
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

/** The same for a request that asks for an upgrade, and so has no body. */
export function upgradeFields(request: IncomingMessage, isBehindBalancer: boolean): IncomingHttpHeaders {
  const fields = upstreamFields(request, isBehindBalancer);
  delete fields["content-length"];
  fields.connection = "upgrade";
  fields.upgrade = request.headers.upgrade;
  return fields;
}

/** Whether a body's coding is none, or one that is undone and made anew: chunked alone. */
export function hasKnownCoding({ headers }: IncomingMessage): boolean {
  const coding = headers["transfer-encoding"];
  return coding === undefined || coding.trim().toLowerCase() === "chunked";
}

function addForwarded(fields: IncomingHttpHeaders, { socket, headers }: IncomingMessage): void {
  // An IPv4 client of a dual-stack socket shows as ::ffff:1.2.3.4; a unix socket has no address at all.
  const address = socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/i, "") ?? "unknown";
  fields["x-forwarded-for"] = address;
  fields["x-forwarded-proto"] = "http";
  if (headers.host !== undefined) fields["x-forwarded-host"] = headers.host;
  // RFC 7239 §6.
  fields.forwarded = `for=${address.includes(":") ? `"[${address}]"` : address};proto=http`;
}

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
