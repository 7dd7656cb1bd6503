/** Refuses requests whose Host is invalid in a URL (RFC 9112 §3.2), without a balancer. */
import type { IncomingMessage } from "node:http";
import { isUrlHost } from "@paceline/wire";

const AUTHORITY = /^https?:\/\/([^/?#]*)/i;

export class HostCheck {
  /** The last valid Host, cached because most requests have the same one. */
  private known = "";
  /** The start of the URL for that Host. */
  private origin = "";

  /** Checks a request of node:http, which only checks that Host exists. */
  accepts({ url = "", headers, rawHeaders }: IncomingMessage): boolean {
    const { host = "" } = headers;
    if (host !== this.known && host !== "" && !isUrlHost(host)) return false;
    this.known = host;
    let hosts = 0;
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i] as string;
      if (name.length === 4 && name.toLowerCase() === "host") hosts++;
    }
    if (hosts > 1) return false;
    // A target with a host is absolute, or it is invalid.
    return url.startsWith("/") || url === "*" || isUrlHost(AUTHORITY.exec(url)?.[1] ?? "");
  }

  /**
   * Checks a request of Bun.serve, which puts the first Host into the URL unchanged, or leaves the URL without a host. It joins several
   * Host fields to a list, like other fields.
   */
  acceptsUrl(request: Request): boolean {
    const { url, headers } = request;
    const host = headers.get("host") ?? "";
    if (host === this.known && this.origin !== "" && url.startsWith(this.origin)) return true;
    if (host !== "" && !isUrlHost(host)) return false;
    const [origin, named = ""] = AUTHORITY.exec(url) ?? [];
    if (origin === undefined) return host === "";
    if (!isUrlHost(named)) return false;
    this.known = host;
    this.origin = `${origin}/`;
    return true;
  }
}
