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
