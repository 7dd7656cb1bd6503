/** The settings of a proxy: its upstream, the protocol details, and the timeouts. */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { readRegularFile } from "@paceline/wire";
import { ServerError } from "../../shared/errors.js";

/** The options of `proxyOptions`; see docs/proxy.md. */
export interface ProxyOptions {
  /** Whether the upstream gets its own name as Host instead of the client's. Default: true. */
  changeOrigin?: boolean;
  /** Whether the certificate of an https upstream must be valid. Default: true. */
  secure?: boolean;
  /** The path of a PEM file with trusted certificates, instead of the well-known ones. */
  ca?: string;
  /** Whether a Location on the upstream is rewritten to the client's host. Default: true. */
  autoRewrite?: boolean;
  /** The new Domain of the upstream's cookies; `""` removes it. A table maps old to new. Default: unchanged. */
  cookieDomainRewrite?: string | Readonly<Record<string, string>>;
  /** The same for their Path. */
  cookiePathRewrite?: string | Readonly<Record<string, string>>;
  /** The connect timeout, including TLS and the wait for a free connection, in milliseconds. Default: 5000. */
  connectTimeoutMs?: number;
  /** The timeout for the next bytes of a response, in milliseconds. Default: 55000. */
  responseTimeoutMs?: number;
  /** The time an idle connection is kept, in milliseconds. Default: 4000. */
  idleTimeoutMs?: number;
  /** The idle timeout of an upgraded connection, both ways, in milliseconds. Default: 3600000. */
  tunnelIdleTimeoutMs?: number;
  /** The maximum number of connections per instance to the upstream, without upgraded ones. Default: 256. */
  maxConnections?: number;
}

type CookieRewrite = Readonly<Record<string, string>> | undefined;

export interface ProxySettings {
  /** The upstream as configured, for display. */
  name: string;
  /** Without a trailing slash; empty if the upstream has no path. */
  basePath: string;
  url: URL;
  isTls: boolean;
  /** The name for the TLS handshake and its check; empty for an IP address. */
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

/** Returns the host of a URL for sockets: an IPv6 address without brackets. */
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

const MAX_CA_BYTES = 1 << 20;

function readCertificates(path: string): string {
  try {
    const text = readRegularFile(path, { maxBytes: MAX_CA_BYTES }).toString();
    new X509Certificate(text);
    return text;
  } catch (cause) {
    throw new ServerError("proxy-unusable", `no certificate can be read from ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Without a prototype, because the library looks up a cookie's text in it. */
function cookieRewrite(
  given: ProxyOptions["cookieDomainRewrite"],
  spellings: (key: string) => string[],
): CookieRewrite {
  if (given === undefined) return undefined;
  const entries = typeof given === "string" ? [["*", given] as const] : Object.entries(given);
  const all = entries.flatMap(([key, value]) => spellings(key).map((spelling) => [spelling, value] as const));
  return Object.assign(Object.create(null), Object.fromEntries(all)) as CookieRewrite;
}

/** A leading dot of a cookie's domain has no meaning (RFC 6265 §5.2.3). */
function withDot(domain: string): string[] {
  return domain === "*" ? [domain] : [domain.replace(/^\./, ""), `.${domain.replace(/^\./, "")}`];
}
