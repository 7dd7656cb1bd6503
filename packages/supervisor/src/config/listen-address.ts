/** Parses and formats listen addresses: `127.0.0.1:8080`, `8080`, `:8080`, `[::1]:8080`, `https://shop.example`, `unix:/path?mode=660&group=www-data`. */
import { isIPv4, isIPv6 } from "node:net";
import { resolve } from "node:path";
import type { FleetConfig, ListenAddress } from "../core/model.js";
import { groupId } from "./accounts.js";

const IPV4_WILDCARD = "0.0.0.0";
const IPV6_WILDCARD = "::";

type Parsed = ListenAddress | { problem: string };

/** Parses a listen address, or returns its problem. A relative unix path starts from `baseDir`. */
export function parseListenAddress(text: string, baseDir: string): Parsed {
  if (text.startsWith("unix:")) return parseUnix(text.slice("unix:".length), baseDir);
  const [, scheme, rest = ""] = /^(https?):\/\/(.*)$/i.exec(text) ?? [];
  if (scheme !== undefined) return parseUrl(scheme.toLowerCase() === "https", rest.replace(/\/$/, ""), text);
  return parseHostAndPort(text);
}

function parseHostAndPort(text: string): Parsed {
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(\d+)$/.exec(text);
  if (match === null) {
    return { problem: `must be "HOST:PORT", "PORT" or "unix:PATH", not ${JSON.stringify(text)}` };
  }
  const port = Number(match[2]);
  if (port < 1 || port > 65535) return { problem: `the port must be between 1 and 65535, not ${match[2]}` };
  const host = match[1];
  if (host === undefined || host === "localhost") return { kind: "tcp", host: "127.0.0.1", port };
  if (host === "" || host === "*") return { kind: "tcp", host: IPV4_WILDCARD, port };
  if (host.startsWith("[")) return parseIpv6(host, port);
  if (!isIPv4(host)) return { problem: `the host must be an IP address or localhost, not "${host}"` };
  return { kind: "tcp", host, port };
}

const HTTPS_PORT = 443;
const HTTP_PORT = 80;
/** A name that a certificate can have, in lower case: at least two labels, and the last one is not a number. */
export const DNS_NAME =
  /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+(?!\d+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** @param rest the part of `text` after the scheme */
function parseUrl(isHttps: boolean, rest: string, text: string): Parsed {
  const match = /^(\[[^\]]*\]|[^:[\]/?#@]*)(?::(\d+))?$/.exec(rest);
  if (match === null) return { problem: `must be a scheme, a host and a port, not ${JSON.stringify(text)}` };
  const [, host = "", port = isHttps ? HTTPS_PORT : HTTP_PORT] = match;
  const name = host.toLowerCase();
  if (isHttps && DNS_NAME.test(name)) {
    const address = parseHostAndPort(`[${IPV6_WILDCARD}]:${port}`);
    return "problem" in address ? address : { ...address, tls: { names: [name] } };
  }
  const address = parseHostAndPort(`${host}:${port}`);
  if ("problem" in address) {
    const hint = isHttps ? "an IP address, localhost or a name such as shop.example" : "an IP address or localhost";
    return address.problem.startsWith("the host") ? { problem: `the host must be ${hint}, not "${host}"` } : address;
  }
  return isHttps ? { ...address, tls: { names: [] } } : address;
}

function parseIpv6(bracketed: string, port: number): Parsed {
  const written = bracketed.slice(1, -1);
  if (!isIPv6(written)) return { problem: `${bracketed} is not an IPv6 address` };
  // A URL cannot contain a scope such as %eth0.
  const host = written.includes("%") ? written : new URL(`http://${bracketed}`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(host);
  if (mapped === null) return { kind: "tcp", host, port };
  const bytes = [mapped[1], mapped[2]].map((part) => Number.parseInt(part ?? "", 16)).flatMap((n) => [n >> 8, n & 255]);
  return { problem: `${bracketed} is an IPv4 address: write ${bytes.join(".")}` };
}

function parseUnix(text: string, baseDir: string): Parsed {
  const question = text.indexOf("?");
  const path = question < 0 ? text : text.slice(0, question);
  if (path === "") return { problem: 'must name a path after "unix:"' };
  const absolute = resolve(baseDir, path);
  if (!fitsSocketAddress(absolute)) {
    return { problem: `the path is longer than the ${MAX_SOCKET_PATH_BYTES} bytes of a socket address: ${absolute}` };
  }
  const address: ListenAddress = { kind: "unix", path: absolute };
  const seen = new Set<string>();
  for (const [key, value] of new URLSearchParams(question < 0 ? "" : text.slice(question))) {
    if (seen.has(key)) return { problem: `has ${key} twice` };
    seen.add(key);
    switch (key) {
      case "mode":
        if (!/^0?[0-7]{3}$/.test(value))
          return { problem: `the mode must be three octal digits such as 660, not "${value}"` };
        address.mode = Number.parseInt(value, 8);
        break;
      case "group": {
        const gid = groupId(value);
        if (gid === undefined) return { problem: `there is no group "${value}" on this machine` };
        address.group = { name: value, gid };
        break;
      }
      default:
        return { problem: `a unix socket has the options mode and group, not "${key}"` };
    }
  }
  return address;
}

/**
 * Formats an address in the usual notation: `http://127.0.0.1:8080`, `https://shop.example`, `tcp://127.0.0.1:6379`,
 * `unix:/run/shop.sock?mode=660`.
 */
export function formatListenAddress(address: ListenAddress): string {
  if (address.kind === "unix") {
    const { path, mode, group } = address;
    const options = [
      ...(mode === undefined ? [] : [`mode=${mode.toString(8).padStart(3, "0")}`]),
      ...(group === undefined ? [] : [`group=${encodeURIComponent(group.name)}`]),
    ];
    return `unix:${path}${options.length === 0 ? "" : `?${options.join("&")}`}`;
  }
  const { tls, port, pool } = address;
  if (tls !== undefined && tls.names.length > 0)
    return tls.names.map((name) => `https://${name}${port === HTTPS_PORT ? "" : `:${port}`}`).join(", ");
  return `${tls !== undefined ? "https" : pool === undefined ? "http" : "tcp"}://${hostAndPort(address)}`;
}

/** Returns `127.0.0.1:8080` or `[::1]:8080`. */
export function hostAndPort({ host, port }: { host: string; port: number }): string {
  // The first call of isIPv6 costs 4 ms on Node 20, in each process.
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Returns every address at which clients connect: those of the balancers, then those of pools in direct mode. */
export function clientAddresses({ listen, pools }: Pick<FleetConfig, "listen" | "pools">): ListenAddress[] {
  return [...listen, ...pools.flatMap(({ bind = [] }) => bind)];
}

/** Formats an address without the pool that gets its connections and how, to compare addresses. */
export function plainListenAddress(address: ListenAddress): string {
  return address.kind === "unix" ? formatListenAddress(address) : `http://${hostAndPort(address)}`;
}

/** Whether `[::]` must accept IPv6 only, because the IPv4 wildcard of the same port is also listed. */
export function isIpv6Only(address: ListenAddress, all: readonly ListenAddress[]): boolean {
  if (address.kind !== "tcp" || address.host !== IPV6_WILDCARD) return false;
  return all.some((other) => other.kind === "tcp" && other.host === IPV4_WILDCARD && other.port === address.port);
}

/** Returns why two addresses cannot both be used: they are equal, or the first one also covers the second. */
function overlap(
  one: ListenAddress,
  other: ListenAddress,
  all: readonly ListenAddress[],
): "same" | "covers" | undefined {
  if (one.kind === "unix") return other.kind === "unix" && one.path === other.path ? "same" : undefined;
  if (other.kind === "unix") return undefined;
  if (one.port !== other.port) return undefined;
  if (one.host === other.host) return "same";
  if (one.host === IPV4_WILDCARD && isIPv4(other.host)) return "covers";
  const takesIpv4 = isIPv4(other.host) && !isIpv6Only(one, all);
  return one.host === IPV6_WILDCARD && (isIPv6(other.host) || takesIpv4) ? "covers" : undefined;
}

/** Whether two addresses cannot both be used. */
export function overlaps(one: ListenAddress, other: ListenAddress, all: readonly ListenAddress[]): boolean {
  return overlap(one, other, all) !== undefined || overlap(other, one, all) !== undefined;
}

/** The size of sun_path without its NUL (unix(7)), in bytes; BSDs have 104. */
const MAX_SOCKET_PATH_BYTES = process.platform === "linux" ? 107 : 103;

export function fitsSocketAddress(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES;
}

type Place = readonly (string | number)[];

/** Parses addresses. `report` receives the problems, each with the position of its address; undefined if there is no address. */
export function readListen(
  written: readonly { text: string; at: Place; pool?: string }[],
  folder: string,
  report: (at: (string | number)[] | undefined, problem: string) => void,
): ListenAddress[] {
  const parsed: { text: string; address: ListenAddress; at: (string | number)[] }[] = [];
  for (const { text, at: place, pool } of written) {
    const at = [...place];
    const address = parseListenAddress(text, folder);
    if ("problem" in address) report(at, address.problem);
    else if (address.tls !== undefined && pool !== undefined) report(at, `"${text}": ${NO_TLS}`);
    else parsed.push({ text, address: { ...address, ...(pool !== undefined && { pool }) }, at });
  }
  joinNames(parsed);
  const addresses = parsed.map(({ address }) => address);
  for (const [index, later] of parsed.entries()) {
    for (const earlier of parsed.slice(0, index)) {
      const problem = overlapProblem(earlier, later, addresses);
      if (problem !== undefined) report(later.at, problem);
    }
  }
  if (written.length === 0) report(undefined, "must have at least one address");
  return addresses;
}

const NO_TLS =
  "https is only for pools that get requests; in tcp and direct mode the program or the app has to speak TLS itself";

interface WrittenAddress {
  text: string;
  address: ListenAddress;
}

/** Names on one port share its socket: the first address gets the names of the others. */
function joinNames(parsed: WrittenAddress[]): void {
  const firsts = new Map<number, { names: string[] }>();
  for (const each of parsed.splice(0)) {
    const { address } = each;
    const first = address.kind === "tcp" ? firsts.get(address.port) : undefined;
    const names = address.kind === "tcp" && address.pool === undefined ? (address.tls?.names ?? []) : [];
    const isNew = names.some((name) => first?.names.includes(name) !== true);
    if (first !== undefined && names.length > 0 && isNew) {
      first.names.push(...names);
      continue;
    }
    if (address.kind === "tcp" && address.tls !== undefined && names.length > 0) firsts.set(address.port, address.tls);
    parsed.push(each);
  }
}

function overlapProblem(earlier: WrittenAddress, later: WrittenAddress, all: ListenAddress[]): string | undefined {
  if (overlap(earlier.address, later.address, all) === "same") {
    return `"${later.text}" is the same address as "${earlier.text}"`;
  }
  for (const [wide, narrow] of [
    [earlier, later],
    [later, earlier],
  ] as const) {
    if (overlap(wide.address, narrow.address, all) !== undefined) {
      return `"${wide.text}" includes "${narrow.text}": list one of them`;
    }
  }
  return undefined;
}
