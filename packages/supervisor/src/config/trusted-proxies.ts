/** Reads `balancer.trustedProxies`: addresses and networks, as CIDR blocks. */
import { isIP } from "node:net";

export function readTrustedProxies(texts: readonly string[], report: (at: number, message: string) => void): string[] {
  return texts.map((text, at) => {
    const network = normalizeNetwork(text);
    if (network === undefined) report(at, `must be an IP address, a CIDR block or "unix", not ${JSON.stringify(text)}`);
    return network ?? text;
  });
}

/** Returns `text` as a CIDR block. A single address becomes a block of one, `unix` stays. Undefined if `text` is invalid. */
function normalizeNetwork(text: string): string | undefined {
  if (text === "unix") return text;
  const [address = "", prefix, more] = text.split("/");
  const family = isIP(address);
  if (family === 0 || more !== undefined) return undefined;
  const bits = family === 4 ? 32 : 128;
  if (prefix === undefined) return `${address}/${bits}`;
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) return undefined;
  // IPv4 clients are matched by their IPv4 addresses, so a wider IPv4-mapped block would match none of them.
  if (isMapped(address) && Number(prefix) < 96) return undefined;
  return `${address}/${Number(prefix)}`;
}

function isMapped(address: string): boolean {
  return address.includes(":") && new URL(`http://[${address.replace(/%.*/, "")}]`).hostname.startsWith("[::ffff:");
}
