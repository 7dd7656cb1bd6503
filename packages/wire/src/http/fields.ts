/** The tables of fields that a proxy does not simply pass on: those of one connection, and those that say who asks. */

/** Fields that belong to one connection and never pass a proxy (RFC 9110 §7.6.1), in lower case. Python's server has the same. */
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

/** `made`: never passes, one of ours takes its place. `trusted`: passes from a trusted proxy alone. `never`: passes from nobody. */
export type ClientFieldRule = "made" | "trusted" | "never";

/** By lower-case name. A name that ends in `*` stands for all that begin so and are not listed themselves. */
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
  // gunicorn takes SCRIPT_NAME and PATH_INFO from fields of these names, whoever sends them.
  "path-info": "never",
  "script-name": "never",
  // A CGI program would have it as HTTP_PROXY, through which its own requests would go (CVE-2016-5385).
  proxy: "never",
};

/** What all names begin with for which `x-forwarded-*` stands. */
export const X_FORWARDED = "x-forwarded-";

/** Fields that decide how a message is read: disguised they are nobody's. */
export const DECIDING_FIELDS: readonly string[] = [
  "content-length",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "transfer-encoding",
];

/**
 * What a name is disguised with: programs make a variable of it, in which `-` and `_` are one, and to some of them, such as
 * lighttpd, all but letters and digits.
 */
const DISGUISE = /[^a-z0-9-]/g;

/** The rule for a field, by its name in lower case; undefined for one that says nothing of the client. */
export function clientFieldRule(name: string): ClientFieldRule | undefined {
  const plain = name.replace(DISGUISE, "-");
  if (plain === name) return ruleOf(name);
  return DECIDING_FIELDS.includes(plain) || ruleOf(plain) !== undefined ? "never" : undefined;
}

function ruleOf(name: string): ClientFieldRule | undefined {
  if (Object.hasOwn(CLIENT_FIELDS, name)) return CLIENT_FIELDS[name];
  return name.startsWith(X_FORWARDED) ? CLIENT_FIELDS["x-forwarded-*"] : undefined;
}
