/** What a proxy is told: its upstream, how it is spoken to, and how long each wait may take. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { ServerError } from "../../shared/errors.js";

/** The options of `proxyOptions`; docs/proxy.md tells of each. */
export interface ProxyOptions {
  /** Whether the upstream gets its own name as Host and not the one that the client asked for. Default true. */
  changeOrigin?: boolean;
  /** Whether the certificate of an https upstream must be valid. Default true. */
  secure?: boolean;
  /** The path of a PEM file with the certificates that are trusted in the place of the well-known ones. Default: those. */
  ca?: string;
  /** Whether a Location on the upstream becomes one on the host that the client asked. Default true. */
  autoRewrite?: boolean;
  /** The Domain that cookies of the upstream get; `""` takes it out. A table: by the Domain they have. Default: as they are. */
  cookieDomainRewrite?: string | Readonly<Record<string, string>>;
  /** The same for their Path. */
  cookiePathRewrite?: string | Readonly<Record<string, string>>;
  /** Milliseconds until the upstream must be connected, TLS and the wait for a free connection included. Default 5000. */
  connectTimeoutMs?: number;
  /** Milliseconds in which the upstream may send nothing of a response that it owes. Default 55000. */
  responseTimeoutMs?: number;
  /** Milliseconds for which an idle connection is kept. Default 4000. */
  idleTimeoutMs?: number;
  /** Milliseconds for which an upgraded connection may be silent both ways. Default 3600000. */
  tunnelIdleTimeoutMs?: number;
  /** Connections of one instance to the upstream, upgraded ones aside. Default 256. */
  maxConnections?: number;
}

type CookieRewrite = Readonly<Record<string, string>> | undefined;

export interface ProxySettings {
  /** For people: the upstream as it was given. */
  name: string;
  /** Without a slash at the end; empty for an upstream without a path. */
  basePath: string;
  url: URL;
  isTls: boolean;
  /** What is asked for and checked in the TLS handshake; empty for an IP address, which is no name. */
  serverName: string;
  changeOrigin: boolean;
  secure: boolean;
  ca: string | undefined;
  autoRewrite: boolean;
  cookieDomainRewrite: CookieRewrite;
  cookiePathRewrite: CookieRewrite;
  connectTimeoutMs: number;
  responseTimeoutMs: number;
  idleTimeoutMs: number;
  tunnelIdleTimeoutMs: number;
  maxConnections: number;
}

/** @throws ServerError `proxy-unusable` */
export function settingsOf(target: string, options: ProxyOptions): ProxySettings {
  const url = upstreamUrl(target);
  const isTls = url.protocol === "https:";
  return {
    name: url.href.replace(/\/$/, ""),
    url,
    basePath: url.pathname.replace(/\/+$/, ""),
    isTls,
    serverName: isIP(bareHost(url)) === 0 ? bareHost(url) : "",
    changeOrigin: options.changeOrigin ?? true,
    secure: options.secure ?? true,
    ca: options.ca === undefined ? undefined : readCertificates(options.ca),
    autoRewrite: options.autoRewrite ?? true,
    cookieDomainRewrite: cookieRewrite(options.cookieDomainRewrite, withDot),
    cookiePathRewrite: cookieRewrite(options.cookiePathRewrite, (path) => [path]),
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    responseTimeoutMs: options.responseTimeoutMs ?? 55_000,
    idleTimeoutMs: options.idleTimeoutMs ?? 4000,
    tunnelIdleTimeoutMs: options.tunnelIdleTimeoutMs ?? 3_600_000,
    maxConnections: options.maxConnections ?? 256,
  };
}

/** The host of a URL as sockets want it: an IPv6 address without its brackets. */
export function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

function upstreamUrl(target: string): URL {
  const url = URL.canParse(target) ? new URL(target) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") {
    if (url.username === "" && url.password === "" && url.search === "" && url.hash === "") return url;
  }
  throw new ServerError(
    "proxy-unusable",
    "the upstream must be an http:// or https:// URL without user, query and fragment, such as https://old.example",
  );
}

function readCertificates(path: string): string {
  try {
    const text = readFileSync(path, "utf8");
    new X509Certificate(text);
    return text;
  } catch (cause) {
    throw new ServerError("proxy-unusable", `no certificate can be read from ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Without a prototype: the library looks a cookie's own words up in it. */
function cookieRewrite(
  given: ProxyOptions["cookieDomainRewrite"],
  spellings: (key: string) => string[],
): CookieRewrite {
  if (given === undefined) return undefined;
  const entries = typeof given === "string" ? [["*", given] as const] : Object.entries(given);
  const all = entries.flatMap(([key, value]) => spellings(key).map((spelling) => [spelling, value] as const));
  return Object.assign(Object.create(null), Object.fromEntries(all)) as CookieRewrite;
}

/** A dot before a cookie's domain means nothing (RFC 6265 §5.2.3). */
function withDot(domain: string): string[] {
  return domain === "*" ? [domain] : [domain.replace(/^\./, ""), `.${domain.replace(/^\./, "")}`];
}
