/** Reads the address of a proxy, or of a network of them. */
import { isIP } from "node:net";

/** `text` as a CIDR block; a lone address is a block of one, and `unix` itself. Undefined when it is none of these. */
export function normalizeNetwork(text: string): string | undefined {
  if (text === "unix") return text;
  const [address = "", prefix, more] = text.split("/");
  const family = isIP(address);
  if (family === 0 || more !== undefined) return undefined;
  const bits = family === 4 ? 32 : 128;
  if (prefix === undefined) return `${address}/${bits}`;
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) return undefined;
  // IPv4 clients are known by their IPv4 addresses: a block that is more than theirs would trust none of them.
  if (isMapped(address) && Number(prefix) < 96) return undefined;
  return `${address}/${Number(prefix)}`;
}

function isMapped(address: string): boolean {
  return address.includes(":") && new URL(`http://[${address.replace(/%.*/, "")}]`).hostname.startsWith("[::ffff:");
}
