/**
 * Decides which fields are forwarded from a client to an upstream, and back. The writers of all protocols use this table, so that the same
 * rules apply to all. Pure.
 */
import { MAX_TRAILERS, mayBeTrailer, trailersOf } from "@paceline/wire";
import { announcesDigest } from "@paceline/wire/content-coding";
import { FieldKind } from "./field-table.js";
import type { ForwardedFields } from "./forwarded.js";
import type { RequestHead } from "./request-head.js";

/** When a field of a request is forwarded. Fields with "never" are hop-by-hop, are replaced, or are sent in another form. */
type Rule = "always" | "never" | "if expected" | "if upgraded" | "if trusted" | "unless replaced";

const REQUEST_RULES: Readonly<Record<keyof typeof FieldKind, Rule>> = {
  ORDINARY: "always",
  HOP: "never",
  // The head writer adds a TE of its own if the client accepts trailers.
  TE: "never",
  CONNECTION: "never",
  // On the lane, Content-Length is only information. In HTTP/1.1 it frames the message and is written again.
  CONTENT_LENGTH: "never",
  TRANSFER_ENCODING: "never",
  HOST: "never",
  UPGRADE: "if upgraded",
  EXPECT: "if expected",
  FORWARDED_FOR: "never",
  FORWARDED_PROTO: "never",
  FORWARDED_HOST: "never",
  FORWARDED_PREFIX: "never",
  FORWARDED: "never",
  DATE: "always",
  CLAIM: "if trusted",
  DISGUISED: "never",
  // Replaced if the balancer creates ids or traces and does not keep this client's (identity.ts).
  REQUEST_ID: "unless replaced",
  TRACEPARENT: "unless replaced",
  TRACESTATE: "unless replaced",
};

function kindsOf(rule: Rule): number {
  let kinds = 0;
  for (const name of Object.keys(FieldKind) as (keyof typeof FieldKind)[])
    if (REQUEST_RULES[name] === rule) kinds |= 1 << FieldKind[name];
  return kinds;
}

const ALWAYS = kindsOf("always");
const IF_EXPECTED = kindsOf("if expected");
const IF_UPGRADED = kindsOf("if upgraded");
const IF_TRUSTED = kindsOf("if trusted");
const UNLESS_REPLACED = kindsOf("unless replaced");

const ALL = (1 << Object.keys(FieldKind).length) - 1;
const OF_CLIENT_HOP =
  (1 << FieldKind.CONNECTION) |
  (1 << FieldKind.CONTENT_LENGTH) |
  (1 << FieldKind.TRANSFER_ENCODING) |
  (1 << FieldKind.HOP) |
  (1 << FieldKind.TE) |
  (1 << FieldKind.UPGRADE);

/**
 * Returns the kinds of fields that are forwarded to the upstream, as bits.
 * @param isTrusted whether the peer's client fields are trusted
 */
export function requestFieldsThatPass(head: RequestHead, isTrusted: boolean): number {
  return (
    ALWAYS |
    (UNLESS_REPLACED & ~head.replaced) |
    (head.expectsContinue ? IF_EXPECTED : 0) |
    (head.isUpgrade ? IF_UPGRADED : 0) |
    (isTrusted ? IF_TRUSTED : 0)
  );
}

/** Returns the kinds of response fields that are forwarded to the client. */
export function responseFieldsThatPass(status: number): number {
  // In a 426, Upgrade lists the accepted protocols (RFC 9110 §15.5.22); otherwise it is hop-by-hop.
  return status === 101 || status === 426 ? (ALL & ~OF_CLIENT_HOP) | (1 << FieldKind.UPGRADE) : ALL & ~OF_CLIENT_HOP;
}

/** Whether a field of that kind is among `kinds`. */
export function passes(kinds: number, kind: number): boolean {
  return ((kinds >>> kind) & 1) !== 0;
}

/** Whether to add X-Forwarded-Host with the client's Host. If a trusted peer has sent it, `forwarded` contains it already. */
export function addsForwardedHost(head: RequestHead, forwarded: ForwardedFields): boolean {
  return !forwarded.isReported && head.hostEnd > head.hostStart;
}

/** Returns the X-Forwarded-Prefix to add: the removed prefix of the path. */
export function addedPrefix(head: RequestHead, forwarded: ForwardedFields): Uint8Array | undefined {
  return forwarded.isReported ? undefined : head.prefix;
}

/**
 * Returns the trailer fields that are forwarded (RFC 9110 §6.5): fields that describe the received body, and that could not have influenced
 * how it was processed.
 * @param received lines with CRLF, with valid names and values
 * @param isRecoded whether the body was compressed on its way, so that statements about its exact bytes are wrong
 * @returns the lines to forward; undefined if there are none, or too many
 */
export function passingTrailers(received: Uint8Array, isRecoded = false): Uint8Array | undefined {
  const all = trailersOf(Buffer.from(received).toString("latin1"));
  if (all.length > MAX_TRAILERS) return undefined;
  const passing = all.flatMap(([name, value]) =>
    mayBeTrailer(name) && !(isRecoded && announcesDigest(name.toLowerCase())) ? `${name}: ${value}\r\n` : [],
  );
  return passing.length === 0 ? undefined : Buffer.from(passing.join(""), "latin1");
}
