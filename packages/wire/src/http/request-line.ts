/** What a request's method and host may be, for whoever passes it on. */

/** Methods whose requests may be sent twice without harm (RFC 9110 §9.2.2, and the registry of methods). */
export const IDEMPOTENT_METHODS: ReadonlySet<string | undefined> = new Set([
  "GET",
  "HEAD",
  "PUT",
  "DELETE",
  "OPTIONS",
  "TRACE",
  "PROPFIND",
  "REPORT",
  "SEARCH",
  "QUERY",
]);

/** A registered name or an address, and a port (RFC 3986 §3.2.2). */
const HOST_CHARACTERS = /^[\w\-.~%!$&'()*+;=:[\]]+$/;

const PORT = /:\d*$/;

/**
 * Whether a Host, or the authority of a target, is one that a URL can have (RFC 9112 §3.2), and that stays what it is in one: apps make
 * URLs of it, and `%61` or `0x7f.1` would be another host there than in the field.
 */
export function isUrlHost(text: string): boolean {
  const url = `http://${text}/`;
  if (!HOST_CHARACTERS.test(text) || !URL.canParse(url)) return false;
  // An IPv6 address has many forms and means the same in each.
  return text.startsWith("[") || new URL(url).hostname === text.replace(PORT, "").toLowerCase();
}
