/** Refuses requests whose Host no URL can have (RFC 9112 §3.2), where no balancer has done it. */
import type { IncomingMessage } from "node:http";
import { isUrlHost } from "@paceline/link";

const AUTHORITY = /^https?:\/\/([^/?#]*)/i;

export class HostCheck {
  /** The last that was good: most requests have the same. */
  private known = "";

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

  /** For Bun.serve, which puts the Host into the URL as it came; or leaves the URL without one, if it cannot. */
  acceptsUrl(request: Request): boolean {
    const { url } = request;
    if (this.known !== "" && url.startsWith(this.known)) return true;
    const [origin, host = ""] = AUTHORITY.exec(url) ?? [];
    if (origin === undefined) return !request.headers.get("host");
    if (!isUrlHost(host)) return false;
    this.known = `${origin}/`;
    return true;
  }
}
