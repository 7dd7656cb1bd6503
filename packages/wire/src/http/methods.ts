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
