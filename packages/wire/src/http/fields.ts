/** The tables of fields that a proxy does not simply forward: hop-by-hop fields, and those that describe the client. */

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

/** `made`: replaced by one of ours. `trusted`: forwarded only from a trusted proxy. `never`: never forwarded. */
export type ClientFieldRule = "made" | "trusted" | "never";

/** By lower-case name. A final `*` matches all names with that prefix that are not listed themselves. */
export const CLIENT_FIELDS: Readonly<Record<string, ClientFieldRule>> = {
  forwarded: "made",
  "x-forwarded-for": "made",
  "x-forwarded-host": "made",
  "x-forwarded-prefix": "made",
  "x-forwarded-proto": "made",
  "x-forwarded-*": "trusted",
  "cf-connecting-ip": "trusted",
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
  "x-original-for": "trusted",
  "x-original-forwarded-for": "trusted",
  "x-original-host": "trusted",
  "x-original-prefix": "trusted",
  "x-original-proto": "trusted",
  "x-original-url": "trusted",
  "x-real-ip": "trusted",
  "x-rewrite-url": "trusted",
  "x-scheme": "trusted",
  "x-script-name": "trusted",
  "x-url-scheme": "trusted",
  // gunicorn uses SCRIPT_NAME and PATH_INFO from such fields, whoever sends them.
  "path-info": "never",
  "script-name": "never",
  // A CGI program would get it as HTTP_PROXY and send its own requests there (CVE-2016-5385).
  proxy: "never",
};

/** The prefix that `x-forwarded-*` stands for. */
export const X_FORWARDED = "x-forwarded-";

/** Fields that determine how a message is read; disguised ones are always dropped. */
export const DECIDING_FIELDS: readonly string[] = [
  "content-length",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "transfer-encoding",
];

/**
 * Characters that disguise a name: programs that turn names into variables treat `_` like `-`, and some, such as lighttpd, all
 * characters but letters and digits.
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
