/** Refuses requests whose Host no URL can have (RFC 9112 §3.2), where no balancer has done it. */
import type { IncomingMessage } from "node:http";
import { isUrlHost } from "@paceline/wire";

const AUTHORITY = /^https?:\/\/([^/?#]*)/i;

export class HostCheck {
  /** The last that was good: most requests have the same. */
  private known = "";
  /** What begins its URL. */
  private origin = "";

  /** For node:http, which checks no more than that there is one. */
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
    // A target that names a host itself is an absolute one, or is none.
    return url.startsWith("/") || url === "*" || isUrlHost(AUTHORITY.exec(url)?.[1] ?? "");
  }

  /**
   * For Bun.serve, which puts the first Host into the URL as it came, or leaves the URL without one, if it cannot. Of several Host
   * fields it makes one with a list, as of other fields.
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
