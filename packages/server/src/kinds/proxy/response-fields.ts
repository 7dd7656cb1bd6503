/** Checks the head of an upstream's response, and makes the fields that the client gets of it. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { REASONS } from "@paceline/wire/reasons";
import { hopByHop } from "./hop-fields.js";
import { type Passage, rewriteLocation } from "./location.js";
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
