/** Which peers are proxies that may say who asks, and what of their lists is believed: these grow at their right end, and what lies left of the first stranger is anybody's word. */

import type { BlockList } from "node:net";
import { normalizePath } from "../routing/request-path.js";

/** A client or hop whose address is not known, as RFC 7239 §6.2 has it. */
export const UNKNOWN = "unknown";
/** In `trustedProxies`: whoever connects to a unix socket that we listen on. */
export const UNIX = "unix";

const MAPPED = /^::ffff:(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/;

export class TrustedProxies {
  /** Apart, since a BlockList takes each IPv4 address for its mapped one, which lies in many a block of IPv6. */
  private readonly networks: { ipv4: BlockList; ipv6: BlockList } | undefined;
  private readonly isUnixTrusted: boolean;
  private readonly isIP: ((text: string) => number) | undefined;

  /** @param list CIDR blocks and `unix`, checked when the configuration was read. */
  constructor(list: readonly string[]) {
    this.isUnixTrusted = list.includes(UNIX);
    if (list.length === 0) return;
    // Not an import: on Bun node:net costs 1.5 MB, and most balancers trust nobody.
    const { BlockList, isIP } = process.getBuiltinModule("node:net");
    this.isIP = isIP;
    const { ipv4, ipv6 } = { ipv4: new BlockList(), ipv6: new BlockList() };
    this.networks = { ipv4, ipv6 };
    for (const block of list) {
      if (block === UNIX) continue;
      const [address = "", prefix] = block.split("/");
      const plain = plainAddress(address);
      const isMapped = plain !== address && familyOf(plain) === "ipv4";
      const family = familyOf(plain);
      if (prefix === undefined) this.networks[family].addAddress(plain, family);
      else if (!isMapped) this.networks[family].addSubnet(address, Number(prefix), family);
      else if (Number(prefix) >= 96) ipv4.addSubnet(plain, Number(prefix) - 96, "ipv4");
    }
  }

  /** @param node an IP address, `unix` or `unknown`. */
  trusts(node: string): boolean {
    if (node === UNIX) return this.isUnixTrusted;
    const family = familyOf(node);
    return node !== UNKNOWN && this.networks?.[family].check(node, family) === true;
  }

  /**
   * The hop that an element of X-Forwarded-For, or the `for` of one of Forwarded, names: its address without quotes,
   * brackets, port and zone, or `unknown` for whatever else it says. That is so for `unix:` too, which nginx says of whoever
   * connects to a unix socket of its own.
   */
  node(text: string): string {
    const bare = text.startsWith('"') && text.endsWith('"') && text.length > 1 ? text.slice(1, -1) : text;
    const [, bracketed, dotted] = /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::[\w.-]+)?$/.exec(bare) ?? [];
    const address = (bracketed ?? dotted ?? bare).replace(/(?<=:[^%]*)%[^%]*$/, "");
    const family = this.isIP?.(address) ?? 0;
    if (family === 0 || (bracketed !== undefined && family !== 6)) return UNKNOWN;
    return plainAddress(address);
  }
}

/**
 * An address in the one spelling by which it is known: IPv6 as RFC 5952 has it and without a zone, and an IPv4 client of a
 * dual-stack socket, which shows as ::ffff:1.2.3.4, by its own.
 */
export function plainAddress(address: string): string {
  if (!address.includes(":")) return address;
  const bare = address.replace(/%.*$/, "").toLowerCase();
  const short = URL.canParse(`http://[${bare}]`) ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : bare;
  const [, dotted, high, low] = MAPPED.exec(short) ?? [];
  if (dotted !== undefined) return dotted;
  if (high === undefined || low === undefined) return short;
  const [first, second] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return `${first >> 8}.${first & 255}.${second >> 8}.${second & 255}`;
}

export function familyOf(address: string): "ipv4" | "ipv6" {
  return address.includes(":") ? "ipv6" : "ipv4";
}

/** What one request's fields say, as they came; those of one name as a list, in their order. */
export interface ClientFields {
  forwardedFor: readonly string[];
  forwarded: readonly string[];
  proto: readonly string[];
  host: readonly string[];
  prefix: readonly string[];
}

/** What is believed of it. */
export interface ToldClient {
  /** The client first, then the trusted hops between it and us; unix sockets, which have no address, left out. */
  chain: readonly string[];
  scheme: "http" | "https";
  /** The host that the client asked for; undefined when no proxy says. */
  host: string | undefined;
  /** What proxies took off the path; empty for nothing. */
  prefix: string;
}

/** More hops than this are not followed. */
const MAX_HOPS = 32;
/** Of a Forwarded field no more than this is read, from its right end. */
const MAX_FORWARDED_LENGTH = 1024;

/** @param peer the trusted proxy that we are connected with: an address, or `unix`. */
export function readClient(
  fields: ClientFields,
  peer: string,
  trusted: TrustedProxies,
  isHost: (text: string) => boolean,
): ToldClient {
  // A proxy that writes one of the two may pass on the other as its client sent it: X-Forwarded-For is what most write.
  const isOlder = lastOf(fields.forwardedFor) !== undefined;
  const elements = isOlder ? hopsOf(fields.forwardedFor) : forwardedHopsOf(fields.forwarded);
  const chain = [peer];
  let first: Hop | undefined;
  for (const hop of elements) {
    const node = trusted.node(hop.node);
    chain.unshift(node);
    first = hop;
    if (!trusted.trusts(node) || chain.length > MAX_HOPS) break;
  }
  const host = lastOf(fields.host) ?? first?.host;
  return {
    chain: chain.map((node, at) => (node === UNIX && at === 0 ? UNKNOWN : node)).filter((node) => node !== UNIX),
    scheme: schemeOf(lastOf(fields.proto) ?? first?.proto),
    host: host !== undefined && host !== "" && isHost(host) ? host : undefined,
    prefix: prefixOf(lastOf(fields.prefix)),
  };
}

/** WebSockets are asked for over HTTP, whatever some proxies call it. */
function schemeOf(text: string | undefined): "http" | "https" {
  const scheme = text?.toLowerCase();
  return scheme === "https" || scheme === "wss" ? "https" : "http";
}

/** A path with which an app can begin its links: one slash at its beginning, nothing that leads out of it, none at its end. */
function prefixOf(text: string | undefined): string {
  if (text === undefined || !/^(?:\/[\w.~!$&'()*+;=:@%-]+)+\/?$/.test(text)) return "";
  return (normalizePath(text) ?? "").replace(/\/$/, "");
}

/** The last element of the last field: what the nearest proxy wrote. */
function lastOf(values: readonly string[]): string | undefined {
  for (const element of elementsOf(values)) return element;
  return undefined;
}

/** The elements of lists, the last one first; empty ones are none (RFC 9110 §5.6.1). */
function* elementsOf(values: readonly string[]): Generator<string> {
  for (let i = values.length - 1; i >= 0; i--) {
    const value = values[i] as string;
    for (let end = value.length; end >= 0; ) {
      const comma = end === 0 ? -1 : value.lastIndexOf(",", end - 1);
      const element = value.slice(comma + 1, end).trim();
      if (element !== "") yield element;
      end = comma;
    }
  }
}

interface Hop {
  node: string;
  proto?: string | undefined;
  host?: string | undefined;
}

function* hopsOf(forwardedFor: readonly string[]): Generator<Hop> {
  for (const node of elementsOf(forwardedFor)) yield { node };
}

const TOKEN = String.raw`[\w!#$%&'*+\-.^\x60|~]+`;
const QUOTED = String.raw`"((?:[^"\\]|\\.)*)"`;
/** A port belongs in quotes; not every proxy knows. */
const PAIR = String.raw`(${TOKEN})=(?:([\w!#$%&'*+\-.^\x60|~:[\]]+)|${QUOTED})`;
const PAIRS = new RegExp(String.raw`(?:^|;)[ \t]*${PAIR}[ \t]*(?=;|$)`, "gy");
/**
 * The last element of a Forwarded field (RFC 7239 §4). It is looked for from the right, so that a quote which a client has left
 * open does not swallow what its proxy wrote behind it.
 */
const LAST_ELEMENT = new RegExp(
  String.raw`(?:^|,)[ \t]*(${unnamed(PAIR)}(?:[ \t]*;[ \t]*${unnamed(PAIR)})*)[ \t]*$`,
  "s",
);

function unnamed(pattern: string): string {
  return pattern.replaceAll(/(?<!\\)\((?!\?)/g, "(?:");
}

function* forwardedHopsOf(values: readonly string[]): Generator<Hop> {
  for (let i = values.length - 1; i >= 0; i--) {
    let rest = withoutEnd((values[i] as string).slice(-MAX_FORWARDED_LENGTH));
    while (rest !== "") {
      const [all = rest, element = ""] = LAST_ELEMENT.exec(rest) ?? [];
      const pairs = new Map<string, string>();
      for (const [, name = "", token, quoted = ""] of element.matchAll(PAIRS)) {
        pairs.set(name.toLowerCase(), token ?? quoted.replace(/\\(.)/g, "$1"));
      }
      // Whoever wrote an element that is none, or one without `for`, names nobody.
      yield { node: pairs.get("for") ?? UNKNOWN, proto: pairs.get("proto"), host: pairs.get("host") };
      rest = withoutEnd(rest.slice(0, rest.length - all.length));
    }
  }
}

function withoutEnd(list: string): string {
  return list.replace(/[, \t]+$/, "");
}
