/**
 * Finds the best route for a host and path: an exact host wins over a wildcard, and a wildcard over any host; then the longest prefix wins.
 */
import { LOWER } from "../http1/bytes.js";
import { decodeForMatch, normalizePath } from "../http1/normal-path.js";
import type { RouteCounts } from "../stats/route-counts.js";

/** One route of a router. */
export interface RouteSpec<Target> {
  /** For example `/`, `/api/`, `example.com/docs/` or `*.example.com/`. */
  text: string;
  target: Target;
  /** Whether the target sees paths without the route's prefix. */
  stripPrefix?: boolean;
  /** Its position among the routes of the target. Default: 0. */
  ordinal?: number;
  /** The counters of its responses. */
  counts?: RouteCounts | undefined;
}

export interface Route<Target> {
  readonly target: Target;
  /** The prefix for matching: decoded, and without a trailing slash; empty for `/`. */
  readonly prefix: Uint8Array;
  /** The number of segments of the prefix. */
  readonly segments: number;
  /** The prefix to strip, in the form that is sent in a field; undefined if the path keeps its prefix. */
  readonly stripped: Uint8Array | undefined;
  /** Its position among the routes of the target. */
  readonly ordinal: number;
  readonly counts: RouteCounts | undefined;
}

/** The routes of one host, the longest prefix first. */
interface HostRoutes<Target> {
  /** The host in lower case; empty for any host. `*.example.com` is stored as `.example.com`. */
  host: string;
  hostBytes: Uint8Array;
  isWildcard: boolean;
  routes: Route<Target>[];
}

const COLON = 58;
const DOT = 46;
const BRACKET = 91;
const SLASH = 47;

export class Router<Target> {
  /** The route of all requests if the only route is `/`, so that host and path need not be examined. */
  readonly only: Route<Target> | undefined;
  private readonly hosts: HostRoutes<Target>[] = [];
  private readonly hasAddresses: boolean;

  constructor(specs: readonly RouteSpec<Target>[]) {
    for (const spec of specs) this.add(spec);
    // Sorted by length: of all matches an exact host is the longest, and "any host" the shortest.
    this.hosts.sort((a, b) => b.host.length - a.host.length);
    for (const { routes } of this.hosts) routes.sort((a, b) => b.prefix.length - a.prefix.length);
    const hasHosts = this.hosts.some(({ host }) => host !== "");
    this.hasAddresses = this.hosts.some(({ host }) => host.startsWith("["));
    const [first] = this.hosts[0]?.routes ?? [];
    this.only = specs.length === 1 && !hasHosts && first?.segments === 0 ? first : undefined;
  }

  private add({ text, target, stripPrefix = false, ordinal = 0, counts }: RouteSpec<Target>): void {
    const slash = text.indexOf("/");
    const isWildcard = text.startsWith("*.");
    const host = text.slice(isWildcard ? 1 : 0, slash).toLowerCase();
    let group = this.hosts.find((known) => known.host === host);
    if (group === undefined) {
      group = { host, hostBytes: Buffer.from(host, "latin1"), isWildcard, routes: [] };
      this.hosts.push(group);
    }
    const path = text.slice(slash);
    const normal = (normalizePath(path) ?? path).replace(/\/$/, "");
    const prefix = Buffer.from(decodeForMatch(normal), "latin1");
    const stripped = stripPrefix && normal !== "" ? Buffer.from(normal, "latin1") : undefined;
    group.routes.push({ target, prefix, segments: normal.split("/").length - 1, stripped, ordinal, counts });
  }

  /**
   * Returns the route for a host (as sent, with or without a port) and a normalized, decoded path. Allocates nothing, except for an IPv6
   * host if a route names one.
   */
  match(
    host: Uint8Array,
    hostStart: number,
    hostEnd: number,
    path: Uint8Array,
    pathStart: number,
    pathEnd: number,
  ): Route<Target> | undefined {
    let name = host;
    let start = hostStart;
    let end = endOfName(host, hostStart, hostEnd);
    if (this.hasAddresses && host[hostStart] === BRACKET) {
      name = canonicalAddress(host, hostStart, end);
      start = 0;
      end = name.length;
    }
    for (const group of this.hosts) {
      if (!matchesHost(group, name, start, end)) continue;
      for (const route of group.routes) if (matchesPath(route.prefix, path, pathStart, pathEnd)) return route;
    }
    return undefined;
  }
}

/** Returns the end of the host without a port and without a final dot. */
function endOfName(host: Uint8Array, start: number, end: number): number {
  let at = end;
  while (at > start && isDigit(host[at - 1] as number)) at--;
  const nameEnd = at > start && host[at - 1] === COLON ? at - 1 : end;
  return nameEnd > start + 1 && host[nameEnd - 1] === DOT ? nameEnd - 1 : nameEnd;
}

/** Returns the canonical form of an IPv6 address (RFC 5952) in brackets; other hosts stay. */
function canonicalAddress(host: Uint8Array, start: number, end: number): Uint8Array {
  const text = Buffer.from(host.subarray(start, end)).toString("latin1");
  return URL.canParse(`http://${text}`)
    ? Buffer.from(new URL(`http://${text}`).hostname, "latin1")
    : host.slice(start, end);
}

function matchesHost(group: HostRoutes<unknown>, name: Uint8Array, start: number, end: number): boolean {
  const { hostBytes, isWildcard } = group;
  const { length } = hostBytes;
  if (length === 0) return true;
  // A wildcard matches one or more labels.
  if (isWildcard ? end - start <= length : end - start !== length) return false;
  for (let i = 1; i <= length; i++) if (LOWER[name[end - i] as number] !== hostBytes[length - i]) return false;
  return true;
}

/** Whether the path is the prefix, or continues it with another segment. */
function matchesPath(prefix: Uint8Array, path: Uint8Array, start: number, end: number): boolean {
  const { length } = prefix;
  if (end - start < length) return false;
  for (let i = 0; i < length; i++) if (path[start + i] !== prefix[i]) return false;
  return end - start === length || path[start + length] === SLASH;
}

function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}
