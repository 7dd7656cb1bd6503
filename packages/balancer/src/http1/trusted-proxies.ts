/**
 * Decides which peers are trusted proxies, and which part of their lists. Proxies append to a list, so entries left of an untrusted one may
 * be forged.
 */

import type { BlockList } from "node:net";
import { normalizePath } from "./normal-path.js";

/** An unknown client or hop (RFC 7239 §6.2). */
export const UNKNOWN = "unknown";
/** In `trustedProxies`: any client of a unix socket in `listen`. */
export const UNIX = "unix";

const MAPPED = /^::ffff:(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/;

export class TrustedProxies {
  /** Two lists, because a BlockList matches IPv4 addresses by their mapped form, which is part of many IPv6 blocks. */
  private readonly networks: { ipv4: BlockList; ipv6: BlockList } | undefined;
  private readonly isUnixTrusted: boolean;
  private readonly isIP: ((text: string) => number) | undefined;

  /** @param list CIDR blocks and `unix`, validated with the configuration */
  constructor(list: readonly string[]) {
    this.isUnixTrusted = list.includes(UNIX);
    if (list.length === 0) return;
    // Not imported: on Bun node:net costs 1.5 MB, and most balancers trust no proxy.
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

  /** @param node an IP address, `unix` or `unknown` */
  trusts(node: string): boolean {
    if (node === UNIX) return this.isUnixTrusted;
    const family = familyOf(node);
    return node !== UNKNOWN && this.networks?.[family].check(node, family) === true;
  }

  /**
   * Returns the hop in an element of X-Forwarded-For, or in the `for` of Forwarded: the address without quotes, brackets, port and zone.
   * Returns `unknown` for anything else, including `unix:`, which nginx sends for clients of its own unix sockets.
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
 * Returns the canonical form of an address: IPv6 by RFC 5952 without a zone, or the IPv4 address in a mapped one such as ::ffff:1.2.3.4.
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

/** The client fields of one request as received. Several fields with one name are a list. */
export interface ClientFields {
  forwardedFor: readonly string[];
  forwarded: readonly string[];
  proto: readonly string[];
  host: readonly string[];
  prefix: readonly string[];
}

/** The part of the statements that is trusted. */
export interface ReportedClient {
  /** The client first, then the trusted hops in the direction of this balancer. Unix sockets are left out, since they have no address. */
  chain: readonly string[];
  scheme: "http" | "https";
  /** The host that the client requested; undefined if no proxy reports it. */
  host: string | undefined;
  /** The path prefix that proxies have removed; may be empty. */
  prefix: string;
}

/** The maximum number of hops that are followed. */
const MAX_HOPS = 32;
/** The maximum length of a Forwarded field that is parsed, from its right end. */
const MAX_FORWARDED_LENGTH = 1024;

/**
 * @param peer the trusted proxy that is connected to this balancer: an address, or `unix`
 * @param ownScheme the scheme of the proxy's connection, which counts as the client's if no proxy reports another one
 */
export function readClient(
  fields: ClientFields,
  peer: string,
  trusted: TrustedProxies,
  isHost: (text: string) => boolean,
  ownScheme: "http" | "https" = "http",
): ReportedClient {
  // A proxy that sets one of the two fields may forward the other one from the client. Most proxies set X-Forwarded-For.
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
    scheme: schemeOf(lastOf(fields.proto) ?? first?.proto ?? ownScheme),
    host: host !== undefined && host !== "" && isHost(host) ? host : undefined,
    prefix: prefixOf(lastOf(fields.prefix)),
  };
}

/** WebSockets use HTTP, although some proxies report ws or wss. */
function schemeOf(text: string | undefined): "http" | "https" {
  const scheme = text?.toLowerCase();
  return scheme === "https" || scheme === "wss" ? "https" : "http";
}

/** Accepts a path that can be used in links: one leading slash, no trailing slash, no dot segments that leave it. */
function prefixOf(text: string | undefined): string {
  if (text === undefined || !/^(?:\/[\w.~!$&'()*+;=:@%-]+)+\/?$/.test(text)) return "";
  return (normalizePath(text) ?? "").replace(/\/$/, "");
}

/** Returns the last element of the last field: the one that the nearest proxy wrote. */
function lastOf(values: readonly string[]): string | undefined {
  for (const element of elementsOf(values)) return element;
  return undefined;
}

/** Yields the elements of lists from the last to the first, without empty ones (RFC 9110 §5.6.1). */
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
/** A value with a port must be quoted, but some proxies do not quote it. */
const PAIR = String.raw`(${TOKEN})=(?:([\w!#$%&'*+\-.^\x60|~:[\]]+)|${QUOTED})`;
const PAIRS = new RegExp(String.raw`(?:^|;)[ \t]*${PAIR}[ \t]*(?=;|$)`, "gy");
/**
 * The last element of a Forwarded field (RFC 7239 §4). Parsed from the right, so that a client's unbalanced quote cannot swallow
 * its proxy's element.
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
      // An invalid element, or one without `for`, identifies nobody.
      yield { node: pairs.get("for") ?? UNKNOWN, proto: pairs.get("proto"), host: pairs.get("host") };
      rest = withoutEnd(rest.slice(0, rest.length - all.length));
    }
  }
}

function withoutEnd(list: string): string {
  return list.replace(/[, \t]+$/, "");
}

/** Returns an IPv4 address, or the first 64 bits of an IPv6 address: a client can change the rest at will (RFC 8981). */
export function networkOf(address: string): string | undefined {
  if (!address.includes(":")) return address.includes(".") ? address : undefined;
  const [before = "", after] = address.split("::");
  const groups = before === "" ? [] : before.split(":");
  if (after !== undefined) {
    const last = after === "" ? [] : after.split(":");
    while (groups.length + last.length < 8) groups.push("0");
    groups.push(...last);
  }
  return groups.slice(0, 4).join(":");
}
