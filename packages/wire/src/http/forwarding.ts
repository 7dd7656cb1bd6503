/** The rules of a proxy: hop-by-hop fields, fields that describe the client, methods that may be retried, hosts that a URL can have. */

/** Hop-by-hop fields, which are never forwarded (RFC 9110 §7.6.1), in lower case. Python's server has the same list. */
export const HOP_BY_HOP_FIELDS = [
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
] as const;

/** `made`: replaced by the balancer's own. `trusted`: forwarded only from a trusted proxy. `never`: never forwarded. */
type ClientFieldRule = "made" | "trusted" | "never";

/** By lower-case name. A final `*` matches all names with that prefix that are not listed themselves. */
export const CLIENT_FIELDS: Readonly<Record<string, ClientFieldRule>> = {
  forwarded: "made",
  "x-forwarded-for": "made",
  "x-forwarded-host": "made",
  "x-forwarded-prefix": "made",
  "x-forwarded-proto": "made",
  "x-forwarded-*": "trusted",
  "cf-connecting-ip": "trusted",
  "cf-connecting-ipv6": "trusted",
  "client-ip": "trusted",
  "cloudfront-forwarded-proto": "trusted",
  "fastly-client-ip": "trusted",
  "fly-client-ip": "trusted",
  "forwarded-for": "trusted",
  "front-end-https": "trusted",
  "proxy-client-ip": "trusted",
  "true-client-ip": "trusted",
  "wl-proxy-client-ip": "trusted",
  "x-appengine-user-ip": "trusted",
  "x-azure-clientip": "trusted",
  "x-client-ip": "trusted",
  "x-cluster-client-ip": "trusted",
  "x-envoy-external-address": "trusted",
  "x-forwarded": "trusted",
  "x-host": "trusted",
  "x-http-host-override": "trusted",
  "x-original-for": "trusted",
  "x-original-forwarded-for": "trusted",
  "x-original-host": "trusted",
  "x-original-prefix": "trusted",
  "x-original-proto": "trusted",
  "x-original-url": "trusted",
  "x-proxyuser-ip": "trusted",
  "x-real-ip": "trusted",
  "x-remote-addr": "trusted",
  "x-rewrite-url": "trusted",
  "x-scheme": "trusted",
  "x-script-name": "trusted",
  "x-url-scheme": "trusted",
  // Only the balancer states who a client is by its certificate.
  "x-client-cert-fingerprint": "never",
  "x-client-cert-subject": "never",
  // gunicorn takes SCRIPT_NAME and PATH_INFO from such fields, whoever sends them.
  "path-info": "never",
  "script-name": "never",
  // A CGI program would get it as HTTP_PROXY and send its own requests to that address (CVE-2016-5385).
  proxy: "never",
};

/** The prefix for which `x-forwarded-*` stands. */
export const X_FORWARDED = "x-forwarded-";

/** Fields that determine how a message is read, and ids of the balancer. Fields with disguised forms of these names are always dropped. */
export const DECIDING_FIELDS: readonly string[] = [
  "content-length",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "transfer-encoding",
  "x-request-id",
];

/**
 * Characters that disguise a name: programs that turn names into variables treat `_` like `-`. Some, such as lighttpd, do so with all
 * characters except letters and digits.
 */
const DISGUISE = /[^a-z0-9-]/g;

/** Returns the rule for a field by its lower-case name; undefined if it does not describe the client. */
export function clientFieldRule(name: string): ClientFieldRule | undefined {
  const plain = name.replace(DISGUISE, "-");
  if (plain === name) return ruleOf(name);
  return DECIDING_FIELDS.includes(plain) || ruleOf(plain) !== undefined ? "never" : undefined;
}

function ruleOf(name: string): ClientFieldRule | undefined {
  if (Object.hasOwn(CLIENT_FIELDS, name)) return CLIENT_FIELDS[name];
  return name.startsWith(X_FORWARDED) ? CLIENT_FIELDS["x-forwarded-*"] : undefined;
}

/** Methods that are safe to repeat (RFC 9110 §9.2.2 and IANA's registry of methods). */
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
 * Whether a Host, or the authority of a target, is valid in a URL (RFC 9112 §3.2) and stays unchanged when the URL is parsed. Apps build
 * URLs from it, in which `%61` or `0x7f.1` would become another host.
 */
export function isUrlHost(text: string): boolean {
  const url = `http://${text}/`;
  if (!HOST_CHARACTERS.test(text) || !URL.canParse(url)) return false;
  // An IPv6 address has many equivalent forms.
  return text.startsWith("[") || new URL(url).hostname === text.replace(PORT, "").toLowerCase();
}
