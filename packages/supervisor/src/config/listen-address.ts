/** Reads and writes listen addresses: `127.0.0.1:8080`, `8080`, `:8080`, `[::1]:8080`, `unix:/path`. */
import { isIPv4, isIPv6 } from "node:net";
import { resolve } from "node:path";
import type { ListenAddress } from "../core/model.js";
import { fitsSocketAddress, MAX_SOCKET_PATH_BYTES } from "../socket-path.js";

/** The address that `text` means, or what is wrong with it. A relative unix path is taken from `baseDir`. */
export function parseListenAddress(text: string, baseDir: string): ListenAddress | { problem: string } {
  if (text.startsWith("unix:")) return parseUnix(text.slice("unix:".length), baseDir);
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(\d+)$/.exec(text);
  if (match === null) {
    return { problem: `must be "HOST:PORT", "PORT" or "unix:PATH", not ${JSON.stringify(text)}` };
  }
  const port = Number(match[2]);
  if (port < 1 || port > 65535) return { problem: `the port must be between 1 and 65535, not ${match[2]}` };
  const host = match[1];
  if (host === undefined || host === "localhost") return { kind: "tcp", host: "127.0.0.1", port };
  if (host === "" || host === "*") return { kind: "tcp", host: "0.0.0.0", port };
  if (host.startsWith("[")) {
    const address = host.slice(1, -1);
    if (!isIPv6(address)) return { problem: `${host} is not an IPv6 address` };
    return { kind: "tcp", host: address, port };
  }
  if (!isIPv4(host)) return { problem: `the host must be an IP address or localhost, not "${host}"` };
  return { kind: "tcp", host, port };
}

function parseUnix(path: string, baseDir: string): ListenAddress | { problem: string } {
  if (path === "") return { problem: 'must name a path after "unix:"' };
  const absolute = resolve(baseDir, path);
  if (!fitsSocketAddress(absolute)) {
    return { problem: `the path is longer than the ${MAX_SOCKET_PATH_BYTES} bytes of a socket address: ${absolute}` };
  }
  return { kind: "unix", path: absolute };
}

/** As people write it in a browser: `http://127.0.0.1:8080`, `unix:/run/shop.sock`. */
export function formatListenAddress(address: ListenAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host;
  return `http://${host}:${address.port}`;
}
