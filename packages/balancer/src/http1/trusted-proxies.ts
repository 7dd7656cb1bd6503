/** Which peers are proxies that may say who asks, and what the addresses are by which they and their clients are named. */
import type { BlockList } from "node:net";

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
