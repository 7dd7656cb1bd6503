/** Makes the fields that the upstream gets of a request. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { clientFieldRule } from "@paceline/wire";
import { hopByHop } from "./hop-fields.js";

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
