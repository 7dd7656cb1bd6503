/** The table of fields in which a proxy says who asks; every link, kind of pool and language follows it (docs/security.md). */

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
  "front-end-https": "trusted",
  "true-client-ip": "trusted",
  "x-client-ip": "trusted",
  "x-cluster-client-ip": "trusted",
  "x-original-forwarded-for": "trusted",
  "x-real-ip": "trusted",
  "x-scheme": "trusted",
  "x-url-scheme": "trusted",
  // A CGI program would have it as HTTP_PROXY, through which its own requests would go (CVE-2016-5385).
  proxy: "never",
};

/** What all names begin with for which `x-forwarded-*` stands. */
export const X_FORWARDED = "x-forwarded-";

/** Fields that decide how a message is read: with `_` for `-` they are nobody's, since many programs take one for the other. */
export const DECIDING_FIELDS: readonly string[] = [
  "content-length",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "transfer-encoding",
];

/** The rule for a field, by its name in lower case; undefined for one that says nothing of the client. */
export function clientFieldRule(name: string): ClientFieldRule | undefined {
  if (!name.includes("_")) return ruleOf(name);
  const plain = name.replaceAll("_", "-");
  return DECIDING_FIELDS.includes(plain) || ruleOf(plain) !== undefined ? "never" : undefined;
}

function ruleOf(name: string): ClientFieldRule | undefined {
  if (Object.hasOwn(CLIENT_FIELDS, name)) return CLIENT_FIELDS[name];
  return name.startsWith(X_FORWARDED) ? CLIENT_FIELDS["x-forwarded-*"] : undefined;
}
