/** Whether a Host, or the authority of a target, is one that a URL can have: apps make URLs of it (RFC 9112 §3.2). */

/** A registered name or an address, and a port (RFC 3986 §3.2.2). */
const HOST_CHARACTERS = /^[\w\-.~%!$&'()*+;=:[\]]+$/;

export function isUrlHost(text: string): boolean {
  return HOST_CHARACTERS.test(text) && URL.canParse(`http://${text}/`);
}
