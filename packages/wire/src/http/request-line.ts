/** Which methods are idempotent, and which hosts are valid. */

/** Methods that are safe to repeat (RFC 9110 §9.2.2 and the method registry). */
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
 * Whether a Host, or the authority of a target, is valid in a URL (RFC 9112 §3.2) and unchanged by URL parsing: apps build URLs
 * from it, and `%61` or `0x7f.1` would become another host.
 */
export function isUrlHost(text: string): boolean {
  const url = `http://${text}/`;
  if (!HOST_CHARACTERS.test(text) || !URL.canParse(url)) return false;
  // An IPv6 address has many equivalent forms.
  return text.startsWith("[") || new URL(url).hostname === text.replace(PORT, "").toLowerCase();
}
