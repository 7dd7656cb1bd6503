/**
 * Which fields pass from a client to an upstream, and back. Every protocol's writer goes by this table, so that a rule holds over
 * all of them. Pure.
 */
import { FieldKind } from "./field-table.js";
import type { ForwardedFields } from "./forwarded.js";
import type { RequestHead } from "./request-head.js";

/** What a field of a request depends on. What passes never is made anew, said otherwise, or belongs to the client's hop. */
type Rule = "always" | "never" | "if expected" | "if upgraded" | "if trusted";

const REQUEST_RULES: Readonly<Record<keyof typeof FieldKind, Rule>> = {
  ORDINARY: "always",
  HOP: "never",
  CONNECTION: "never",
  // The lane says it for information; in HTTP/1.1 it frames the message, and is made anew.
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

const ALL = (1 << Object.keys(FieldKind).length) - 1;
const OF_CLIENT_HOP =
  (1 << FieldKind.CONNECTION) |
  (1 << FieldKind.CONTENT_LENGTH) |
  (1 << FieldKind.TRANSFER_ENCODING) |
  (1 << FieldKind.HOP) |
  (1 << FieldKind.UPGRADE);

/** The kinds of fields that pass upstream, a bit for each; see `passes`. @param isTrusted what its peer says of clients is believed. */
export function requestFieldsThatPass(head: RequestHead, isTrusted: boolean): number {
  return (
    ALWAYS |
    (head.expectsContinue ? IF_EXPECTED : 0) |
    (head.isUpgrade ? IF_UPGRADED : 0) |
    (isTrusted ? IF_TRUSTED : 0)
  );
}

/** The kinds of fields of a response that pass to its client. */
export function responseFieldsThatPass(status: number): number {
  // 426 says with Upgrade what it would take (RFC 9110 §15.5.22); elsewhere it belongs to the hop.
  return status === 101 || status === 426 ? (ALL & ~OF_CLIENT_HOP) | (1 << FieldKind.UPGRADE) : ALL & ~OF_CLIENT_HOP;
}

/** Whether a field of that kind is among them. */
export function passes(kinds: number, kind: number): boolean {
  return ((kinds >>> kind) & 1) !== 0;
}

/** Whether X-Forwarded-Host says what the client asked for: what a trusted peer says of it is in `forwarded` already. */
export function addsForwardedHost(head: RequestHead, forwarded: ForwardedFields): boolean {
  return !forwarded.isTold && head.hostEnd > head.hostStart;
}

/** The X-Forwarded-Prefix that is added: what was taken off the path. */
export function addedPrefix(head: RequestHead, forwarded: ForwardedFields): Uint8Array | undefined {
  return forwarded.isTold ? undefined : head.prefix;
}
